"""What export writes with 8-bit weights, and of models that Keras quantised, as ONNX Runtime and LiteRT answer."""

import json

import keras
import numpy as np
import pytest
from contracts import outputs_of, random_images
from models.test_vit import TINY
from models.tiny_backbones import tiny

from keras_recon import models
from keras_recon.export import formats as export
from keras_recon.export import parity
from keras_recon.export.formats import FORMATS, export_model, write_onnx_int8

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="ONNX and LiteRT need TensorFlow")
IMAGES = random_images(8, 16, 16, 3)


def build(name, **sizes):
    """A model whose last layers are not zeros, which would hide the network."""
    if name == "vit":
        model = models.ViTReconstructor(**TINY | sizes)
    elif name == "pretrained":
        model = tiny()
    else:
        model = models.ConvAutoencoder((16, 16, 3), filters=(16, 32), latent_dim=5)
    model.adapt(random_images(20, 16, 16, 3))
    for i, variable in enumerate(model.trainable_variables):
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.03, seed=i))
    return model


def needs(*formats):
    for package in (package for name in formats for package in FORMATS[name].packages):
        pytest.importorskip(package, reason="in the extra `export`")


@pytest.mark.parametrize("name", ["autoencoder", pytest.param("vit", marks=pytest.mark.slow)])
def test_eight_bits_are_small_and_close_for_any_batch(tmp_path, name):
    needs("onnx_int8", "litert_int8")
    model = build(name, hidden_dim=64, mlp_dim=128) if name == "vit" else build(name)
    certificate = export_model(model, tmp_path, ["onnx", "litert", "onnx_int8", "litert_int8"], IMAGES, IMAGES)
    assert certificate == json.loads((tmp_path / "parity.json").read_text())
    for format in ("onnx", "litert"):
        files = [tmp_path / FORMATS[each].file for each in (format, f"{format}_int8")]
        plain, quantized = (file.read_bytes() for file in files)
        assert len(quantized) < 0.7 * len(plain)
        run = parity.LOADERS[f"{format}_int8"](files[1])
        for batch in (IMAGES[:1], np.concatenate([IMAGES, IMAGES])):
            difference = np.abs(run(batch) - outputs_of(model, batch))
            assert 0 < difference.max() < 0.1 and difference.mean() < 0.005
        row = certificate["files"][f"{format}_int8"]
        assert row["psnr to live"] > parity.MIN_PSNR and abs(row["psnr difference"]) < 0.5


def test_convolutions_and_products_are_in_eight_bits_and_the_linear_path_is_not(tmp_path):
    needs("onnx_int8")
    onnx = pytest.importorskip("onnx")
    model = build("autoencoder")
    export_model(model, tmp_path, ["onnx_int8"], IMAGES)
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    made = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "MatMul")]
    eight = {node.name for node in layers if made.get(node.input[1], node).op_type == "DequantizeLinear"}
    linear = {node.name for node in layers if "/linear" in node.name}
    assert len(linear) == 2 and not linear & eight
    assert len([name for name in eight if "block_0" in name]) >= 4


def test_ranges_come_from_the_images(tmp_path):
    needs("onnx_int8")
    model = build("autoencoder")
    differences = []
    for images in (IMAGES, 0.02 * IMAGES):
        write_onnx_int8(model, str(tmp_path / "model.onnx"), images)
        answers = parity.LOADERS["onnx_int8"](tmp_path / "model.onnx")(IMAGES)
        differences.append(np.abs(answers - outputs_of(model, IMAGES)).mean())
    assert differences[1] > 2 * differences[0]


def test_a_file_that_loses_too_much_is_not_left(tmp_path, monkeypatch):
    needs("litert_int8")
    monkeypatch.setattr(parity, "MIN_PSNR", 99)
    with pytest.raises(
        RuntimeError, match=r"litert_int8 must have a PSNR of 99 dB to .*Received: \d\d\.\d\d dB over 8 im"
    ):
        export_model(build("autoencoder"), tmp_path, ["litert_int8"], IMAGES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_what_keras_quantised_is_exported_or_refused(tmp_path, monkeypatch, mode):
    pytest.importorskip("tensorflow")
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # Keras does so after each layer
    model = build("autoencoder")
    model.quantize(mode)
    formats = ["savedmodel", *(["onnx"] if not _missing("onnx") else [])]
    if mode == "int4" and not _missing("litert"):
        formats.append("litert")
    certificate = export_model(model, tmp_path, formats, IMAGES)
    assert set(certificate["files"]) == {"live", *formats}
    for format in formats:
        run = parity.LOADERS[format](tmp_path / FORMATS[format].file)
        np.testing.assert_allclose(run(IMAGES), outputs_of(model, IMAGES), atol=0.01)
        assert ("psnr to live" in certificate["files"][format]) == (mode == "int8")
    if mode == "int8":
        message = r"`model` must not be quantised by Keras to int8 for litert; export litert_int8 .* before `quantize`"
        with pytest.raises(ValueError, match=message):
            export_model(model, tmp_path / "refused", ["keras", "litert"], IMAGES)
        assert not (tmp_path / "refused").exists()


@pytest.mark.slow
def test_a_quantised_pretrained_vit_is_exported(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    model = build("pretrained")
    before = outputs_of(model, IMAGES)
    model.quantize("int8")
    assert np.abs(outputs_of(model, IMAGES) - before).max() > 1e-3
    for format in ["savedmodel", *(["onnx"] if not _missing("onnx") else [])]:
        file = tmp_path / FORMATS[format].file
        model.export(file, format=FORMATS[format].keras_name, verbose=False)
        run = parity.LOADERS[format](file)
        for batch in (IMAGES[:1], IMAGES):
            np.testing.assert_allclose(run(batch), outputs_of(model, batch), atol=1e-4)


def _missing(name):
    return any(export.find_spec(package) is None for package in FORMATS[name].packages)
