"""Model files that would take minutes, gigabytes or nonsense: each is refused in one sentence, at once."""

import io
import json
import threading
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_recon
from keras_recon import models

WEIGHTS = "model.weights.h5"


def refuse(path, members, message):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as error:
        keras_recon.load_model(path)
    assert time.perf_counter() - start < 5 and "\n" not in str(error.value) and str(path) in str(error.value)


def nested(weights):
    for _ in range(800):
        weights = weights.create_group("group")


def many(weights):
    for i in range(20_000):
        weights.create_group(f"group_{i}")


def circle(weights):
    weights["itself"] = weights["/"]


@pytest.mark.parametrize("change", [nested, many, circle])
def test_groups_without_end(tmp_path, members, change):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        change(weights)
    refuse(tmp_path / "model.keras", {**members, WEIGHTS: file.getvalue()}, "at most 10,000, nested at most 32 deep")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_layers": 60_000}, "asks for more layers than a file of"),
        ({"decoder_num_layers": 60_000}, "asks for more layers than a file of"),
        ({"hidden_dim": 65_536}, "asks for more bytes of weights than a file of"),
        ({"mlp_dim": 65_536}, "and the model takes"),
        ({"image_shape": [65_536, 65_536, 3]}, "must have at most 67,108,864 values"),
    ],
)
def test_configurations_of_more_than_the_file_holds(tmp_path, members, change, message):
    config = json.loads(members["config.json"])
    config["config"].update(change)
    refuse(tmp_path / "model.keras", {**members, "config.json": json.dumps(config)}, message)


def test_the_bound_is_of_the_thread_that_loads_and_ends_with_it(members):
    make = keras.layers.Layer.__init__
    made = []
    with pytest.raises(ValueError, match="asks for more layers"), models.budget.budget(weights=0, size=0):
        other = threading.Thread(target=lambda: made.extend(keras.layers.ReLU() for _ in range(1000)))
        other.start()
        other.join()
        for _ in range(1000):
            keras.layers.ReLU()
    assert len(made) == 1000 and keras.layers.Layer.__init__ is make


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_finite_numbers(tmp_path, members, value):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if getattr(item, "shape", ()) else None)
        weights[names[-1]][..., 0] = value
    refuse(
        tmp_path / "model.keras", {**members, WEIGHTS: file.getvalue()}, "its weight .* has values that are no finite"
    )
