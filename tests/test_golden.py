"""Files that earlier versions saved, on each backend, load on every backend and answer as they did.

`golden/make.py` and `golden/make_trained.py` wrote them.
"""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import outputs_of, random_images
from keras import ops

import keras_recon
from keras_recon.anomaly import AnomalyDetector
from keras_recon.compression import ImageCodec

FOLDER = Path(__file__).parent / "golden"
GOLDEN = sorted(FOLDER.glob("[0-9]*/*/*.keras"))
TRAINED = sorted(FOLDER.glob("trained/*/*.keras"))
CLASSES = {"codec": ImageCodec, "detector": AnomalyDetector}


def test_each_version_and_backend_is_there():
    assert {path.parent.name for path in GOLDEN} == {"tensorflow", "jax", "torch"}
    assert keras_recon.__version__ in {path.parent.parent.name for path in GOLDEN}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: "-".join(path.parts[-3:]))
def test_an_older_file_gives_what_it_gave(path):
    saved = np.load(path.parent / "images.npz")
    outputs = outputs_of(keras_recon.load_model(path), saved["images"])
    np.testing.assert_allclose(outputs, saved[path.stem], atol=1e-5)


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: "-".join(path.parts[-2:]))
def test_frozen_quantised_and_low_rank_layers_are_those_that_were(path):
    saved, name = np.load(path.parent / "answers.npz"), path.stem
    expected = {key: saved[f"{name}/{key}"] for key in ("images", "outputs", "trainable", "dtypes")}
    kind = CLASSES.get(name.split("_")[0])
    model = keras_recon.load_model(path, kind) if kind else keras_recon.load_model(path)
    assert [variable.trainable for variable in model.weights] == expected["trainable"].tolist()
    assert [keras.backend.standardize_dtype(v.dtype) for v in model.weights] == expected["dtypes"].tolist()
    outputs = model(expected["images"], training=False)
    if isinstance(outputs, dict):
        outputs = outputs.get("map", outputs.get("images"))
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), expected["outputs"], atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the run was begun on TensorFlow")
def test_an_older_run_goes_on_as_if_it_had_not_been_interrupted(tmp_path):
    shutil.copytree(FOLDER / "trained" / "tensorflow" / "run", tmp_path / "run")
    whole = np.load(FOLDER / "trained" / "tensorflow" / "whole.npz")
    images = random_images(12, 24, 24, 3, seed=4)
    photos = keras_recon.data.load_photos((images[:9], images[9:]))
    small = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    model = keras_recon.models.ViTReconstructor(
        (16, 16, 3), 8, 5, refiner_filters=2, **small, **{f"decoder_{name}": size for name, size in small.items()}
    )
    options = keras_recon.TrainingOptions(batch_size=4, epochs=3, steps_per_epoch=3, warmup_steps=1, seed=1)
    keras_recon.train(model, *photos, tmp_path / "run", options, finish=False)
    np.testing.assert_allclose(outputs_of(model, images[:2, :16, :16]), whole["outputs"], atol=1e-5)
    lines, expected = (text.splitlines() for text in ((tmp_path / "run/log.csv").read_text(), str(whole["log"])))
    assert len(lines) == len(expected) == 4
    rows = [[dict(zip(lines[0].split(","), map(float, row.split(",")))) for row in of[1:]] for of in (lines, expected)]
    for epoch, (ours, theirs) in enumerate(zip(*rows)):
        # The training's own figures of the second epoch are those of the steps after the interruption.
        names = ["val_loss", "val_psnr", *(["loss", "psnr"] if epoch == 2 else [])]
        assert [ours[name] for name in names] == pytest.approx([theirs[name] for name in names], rel=1e-4)
