"""The guides run, with few steps on small photos, and their notebooks are what jupytext makes of them."""

import re
import runpy

import keras
import keras_hub
import nbformat
import numpy as np
import pytest
import skimage.data
from contracts import slow
from guides.make_notebooks import GUIDES, notebook
from models.tiny_backbones import SIZES
from PIL import Image

pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")
SMALL = {
    "PHOTOS": "photos",
    "PRESET": "preset",
    "STEPS_PER_EPOCH": 2,
    "EPOCHS": 1,
    "FINE_TUNING_EPOCHS": 1,
    "WIDTHS": [16, 32],
}


def shortened(source):
    """A guide's source with other constants at its top."""
    lines = rf"^({'|'.join(SMALL)}) = .*$"
    return re.sub(lines, lambda line: f"{line[1]} = {SMALL[line[1]]!r}", source, flags=re.MULTILINE)


def save_photos(folder):
    cat = skimage.data.cat()
    for index, name in enumerate(("train/0", "train/1", "val/0", "val/1")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cat[64 * index :][:96, 100:228]).save(folder / f"{name}.png")


def save_preset(folder):
    """A random DeiT, of the kind that the guide downloads."""
    sizes = {**SIZES, "patch_size": (16, 16), "num_layers": 6}
    keras_hub.models.DeiTBackbone(image_shape=(32, 32, 3), **sizes, intermediate_dim=12).save_to_preset(folder)
    keras_hub.layers.DeiTImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(folder)


@pytest.fixture
def eager():
    """TensorFlow does not trace, which would take most of the time of a few steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


SLOW = ("hyperparameters", "masked_pretraining", "fine_tuning")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "guide", [slow(guide) if guide.stem in SLOW else guide for guide in GUIDES], ids=lambda guide: guide.stem
)
def test_a_guide_runs(guide, tmp_path, monkeypatch):
    source = guide.read_text()
    save_photos(tmp_path / "photos")
    if "PRESET" in source:
        save_preset(tmp_path / "preset")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / guide.name).write_text(shortened(source))
    names = runpy.run_path(guide.name)
    if "history" in names:  # few steps are no training, but must not throw the linear start away
        assert names["history"].history["val_psnr"][-1] > names["start"]["psnr"] - 0.1
    image_shape = getattr(names["loaded"], "image_shape", (64, 64, 3))  # a probe is a functional model
    images = keras.random.uniform((2, *image_shape), seed=0)
    loaded, outputs = (keras.ops.convert_to_numpy(names[name](images)) for name in ("loaded", "model"))
    np.testing.assert_allclose(loaded, outputs, atol=1e-5)
    if "savefig" in source:
        with Image.open(f"saved_models/{guide.stem}/reconstructions.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 20  # something is drawn


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_notebook_is_the_guide(guide):
    saved = nbformat.read(guide.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(saved)
    assert saved == notebook(guide), "run examples/guides/make_notebooks.py"
    assert "%pip install" in saved.cells[0].source and saved.metadata.kernelspec.name == "python3"
