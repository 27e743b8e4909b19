"""A codec's SavedModel."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from compression.tiny_codecs import tiny_codec
from contracts import random_images
from keras import ops

from keras_recon.export import FORMATS, export_model
from keras_recon.models.image_model import can_export

IMAGES, QUALITY = random_images(2, 64, 96, 3), np.array([0.2, 0.9], "float32")


@pytest.fixture(scope="module")
def codec():
    return tiny_codec()


def arrays(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


def test_the_halves_are_the_codec(codec):
    halves = arrays(codec.compress(IMAGES, QUALITY))
    assert {name: (array.dtype.name, array.shape) for name, array in halves.items()} == {
        "symbols": ("int32", (2, 8, 12, 8)),
        "hyper_symbols": ("int32", (2, 2, 3, 2)),
        "latents": ("float32", (2, 8, 12, 8)),
    }
    images = ops.convert_to_numpy(codec.decompress(ops.convert_to_tensor(halves["latents"]), QUALITY))
    whole = arrays(codec((IMAGES, QUALITY)))
    np.testing.assert_allclose(images, whole["images"], atol=1e-5)
    assert np.abs(halves["symbols"][1]).sum() > np.abs(halves["symbols"][0]).sum() > 0  # of the better quality
    # Latents are as far from their means, which hold less than a step of most, as the symbols say.
    assert np.corrcoef(halves["symbols"].ravel(), halves["latents"].ravel())[0, 1] > 0.9


SCRIPT = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
assert "keras_recon" not in sys.modules
inputs = np.load(sys.argv[2])
quality = tf.constant(inputs["quality"])
halves = model.compress(tf.constant(inputs["images"]), quality)
np.savez(sys.argv[3], images=model.decompress(halves["latents"], quality), **halves)
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_export("tf_saved_model"), reason="the backend writes no SavedModel")
def test_a_savedmodel_answers_alike_without_keras(codec, tmp_path):
    pytest.importorskip("tensorflow")
    size = (64, 96) if keras.backend.backend() == "jax" else (None, None)
    codec.export(tmp_path / "saved", image_size=size)
    np.savez(tmp_path / "inputs.npz", images=IMAGES, quality=QUALITY)
    arguments = [tmp_path / "saved", tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True)
    outputs, expected = np.load(tmp_path / "outputs.npz"), arrays(codec.compress(IMAGES, QUALITY))
    images = ops.convert_to_numpy(codec.decompress(ops.convert_to_tensor(expected["latents"]), QUALITY))
    np.testing.assert_allclose(outputs["images"], images, atol=1e-3)
    for name, array in expected.items():  # a value in the middle of two may go to the other
        assert outputs[name].dtype == array.dtype and outputs[name].shape == array.shape
        assert np.mean(np.abs(outputs[name] - array) > 1e-2) < 0.01, name


def test_export_model_compares_the_files_with_the_codec(codec, tmp_path):
    formats = ["keras", *(["savedmodel"] if can_export("tf_saved_model") else [])]
    files = export_model(codec, tmp_path, formats, IMAGES, IMAGES)["files"]
    assert {*files} == {"live", *formats} and all(files[name]["psnr to live"] > 45 for name in formats)
    assert {path.name for path in tmp_path.iterdir()} == {"parity.json", *(FORMATS[name].file for name in formats)}
    with pytest.raises(ValueError, match=r"\['keras', 'savedmodel'\] for a ImageCodec\. Received: 'litert'"):
        export_model(codec, tmp_path, ["litert"], IMAGES)


def test_other_formats_are_refused(codec, tmp_path):
    with pytest.raises(ValueError, match=r"`format` must be 'tf_saved_model' for a codec\. Received: format='onnx'"):
        codec.export(tmp_path / "model.onnx", format="onnx")
    if not can_export("tf_saved_model"):
        with pytest.raises(RuntimeError, match="cannot be exported from the"):
            codec.export(tmp_path / "saved")
