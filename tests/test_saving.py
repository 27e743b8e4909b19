"""Model files that are damaged or meant to harm: each is refused in one sentence, and runs no code."""

import io
import json
import random
import shutil

import h5py
import keras
import numpy as np
import pytest
from contracts import outputs_of
from model_files import WEIGHTS, refuse, write

import keras_recon


def with_config(members, change):
    config = json.loads(members["config.json"])
    change(config)
    return {**members, "config.json": json.dumps(config)}


def with_weights(members, change):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(weights, names)
    return {**members, WEIGHTS: file.getvalue()}


def test_a_file_that_is_fine_is_loaded_and_so_is_a_runs_folder(tmp_path, saved):
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    expected = outputs_of(keras.saving.load_model(saved), images)
    (tmp_path / "run").mkdir()
    shutil.copy(saved, tmp_path / "run" / "model.keras")
    for path in (saved, tmp_path / "run"):
        np.testing.assert_array_equal(outputs_of(keras_recon.load_model(path), images), expected)


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}


@pytest.mark.parametrize(
    "evil",
    [
        LAMBDA,
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": LAMBDA}, "registered_name": None},
        {"module": "os", "class_name": "system", "config": "touch canary", "registered_name": "system"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "canary"]}},
        {"module": "builtins", "class_name": "exec", "config": "open('canary', 'w')", "registered_name": "exec"},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "."}, "registered_name": None},
    ],
)
@pytest.mark.parametrize("place", ["model", "argument", "dtype", "deep"])
def test_foreign_classes_are_refused_and_run_nothing(tmp_path, members, monkeypatch, evil, place):
    monkeypatch.chdir(tmp_path)

    def change(config):
        if place == "model":
            config.clear()
            config.update({"build_config": {}, **evil})
        elif place == "deep":
            config["config"]["name"] = [{"a": [evil]}]
        else:
            config["config"]["dtype" if place == "dtype" else "num_layers"] = evil

    refuse(write(tmp_path / "model.keras", with_config(members, change)), "foreign class|no model of keras_recon|Error")
    assert not (tmp_path / "canary").exists()


def test_a_model_that_is_not_ours_is_named(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    refuse(tmp_path / "model.keras", "is no model of keras_recon")


def test_another_version_is_named(tmp_path, members):
    path = tmp_path / "model.keras"
    newer = with_config(members, lambda c: (c["build_config"].update(keras_recon="99.1"), c["config"].update(fold=2)))
    refuse(write(path, newer), r"saved by keras_recon 99.1, this is \d.*fold")
    metadata = {**json.loads(members["metadata.json"]), "keras_version": "98.0"}
    broken = {**newer, "metadata.json": json.dumps(metadata)}
    refuse(write(path, broken), r"saved by Keras 98.0, this is \d")
    refuse(write(path, with_config(members, lambda c: c["config"].update(hidden_dim=10**9))), "hidden_dim")


def remove(weights, names):
    del weights[names[len(names) // 2]]


def reshape(weights, names):
    value = weights[names[0]][()]
    del weights[names[0]]
    weights[names[0]] = np.zeros((*value.shape, 2), value.dtype)


def link(weights, names):
    del weights[names[0]]
    weights[names[0]] = h5py.ExternalLink("/etc/passwd", "/x")


def stored_elsewhere(weights, names):
    shape = weights[names[0]].shape
    del weights[names[0]]
    size = int(np.prod(shape)) * 4
    weights.create_dataset(names[0], shape, "float32", external=[("/etc/passwd", 0, size)])


def promise(weights, names):
    del weights[names[0]]
    weights.create_dataset(names[0], (10**6, 10**6), "float32", chunks=(1000, 1000))


@pytest.mark.parametrize(
    "change, message",
    [
        (remove, "its weight .* is missing"),
        (reshape, "asks for a weight of the shape .*, which the file does not hold"),
        (link, "link to elsewhere"),
        (stored_elsewhere, "in another file"),
        (promise, "is not stored as plain numbers"),
    ],
)
def test_weights_that_are_not_the_models_own_are_refused(tmp_path, members, change, message):
    refuse(write(tmp_path / "model.keras", with_weights(members, change)), message)


def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path, saved):
    data, path = saved.read_bytes(), tmp_path / "model.keras"
    expected = keras_recon.load_model(saved).get_weights()
    rng = random.Random(0)
    # Half of them where the archive's own tables stand, at the end.
    places = [rng.randrange(start, len(data)) for start in (0, len(data) - 300) for _ in range(150)]
    counts = {"refused": 0, "equal": 0}
    for place in places:
        changed = bytearray(data)
        changed[place] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        try:
            weights = keras_recon.load_model(path).get_weights()
        except ValueError as error:
            assert "\n" not in str(error)
            counts["refused"] += 1
        else:
            for a, b in zip(weights, expected, strict=True):
                np.testing.assert_array_equal(a, b)
            counts["equal"] += 1
    assert counts["refused"] > 150
