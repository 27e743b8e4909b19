import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import outputs_of, random_images
from keras import ops
from models.test_vit import TINY
from models.tiny_backbones import tiny_backbone
from PIL import Image

from keras_recon import models
from keras_recon.export import formats as export
from keras_recon.export import parity
from keras_recon.export.formats import export_model
from keras_recon.models.image_model import can_export

IMAGES = random_images(3, 16, 16, 3)
SERVE = """
import sys
sys.modules["keras_recon"] = sys.modules["keras"] = None  # neither is there where it is served
import numpy as np, tensorflow as tf
given = np.load(sys.argv[2])
served = tf.saved_model.load(sys.argv[1])
answers = {}
for name in given:
    signature = served.signatures[name.split("/")[0]]
    answers[name] = np.concatenate([
        next(iter(signature(tf.constant(part)).values())).numpy() for part in np.split(given[name], [1])
    ])
answers["serve"] = served.serve(given["serving_default"]).numpy()
np.savez(sys.argv[3], **answers)
"""
SLOW = pytest.mark.slow
savedmodel = pytest.mark.skipif(keras.backend.backend() == "torch", reason="SavedModel export needs TensorFlow or JAX")
tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the format needs TensorFlow")


@pytest.fixture
def model():
    model = models.ViTReconstructor(**TINY)
    model.adapt(random_images(20, 16, 16, 3))
    model.compile("adam", "mse")
    model.fit(IMAGES, IMAGES, verbose=0)
    return model


def png(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return buffer.getvalue()


@savedmodel
def test_every_signature_serves_the_same_without_keras(tmp_path, model):
    pytest.importorskip("tensorflow")
    latents = ops.convert_to_numpy(model.encode(IMAGES))
    outputs = outputs_of(model, IMAGES)
    photos = [(random_images(2, *size, 3) * 255).astype("uint8") for size in ((1, 1), (16, 16), (37, 21))]
    given = {"serving_default": IMAGES, "encode": IMAGES, "decode": latents}
    given |= {f"reconstruct_uint8/{i}": batch for i, batch in enumerate(photos)}
    given["reconstruct_bytes"] = np.array([png(batch[0]) for batch in photos])
    certificate = export_model(model, tmp_path, ["keras", "savedmodel"], IMAGES, IMAGES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "parity.json", "savedmodel"]
    np.savez(tmp_path / "given.npz", **given)
    arguments = [tmp_path / name for name in ("savedmodel", "given.npz", "answers.npz")]
    subprocess.run([sys.executable, "-c", SERVE, *arguments], check=True)
    answers = np.load(tmp_path / "answers.npz", allow_pickle=True)
    for name, expected in {"serve": outputs, "serving_default": outputs, "encode": latents, "decode": outputs}.items():
        np.testing.assert_allclose(answers[name], expected, atol=1e-5, err_msg=name)
    for i, batch in enumerate(photos):
        answer = answers[f"reconstruct_uint8/{i}"]
        assert answer.dtype == np.uint8 and answer.shape == batch.shape
        with Image.open(io.BytesIO(answers["reconstruct_bytes"][i])) as picture:
            np.testing.assert_array_equal(picture, answer[0])
    assert certificate == json.loads((tmp_path / "parity.json").read_text())
    assert "import keras_recon" in certificate["protocol"]["loading"]
    assert certificate["files"]["savedmodel"]["max absolute difference"] < 1e-5
    psnr = np.mean(-10 * np.log10(((outputs - IMAGES) ** 2).mean((1, 2, 3))))
    assert certificate["files"]["live"]["psnr"] == pytest.approx(psnr, abs=1e-3)


@pytest.mark.slow
@savedmodel
def test_a_model_without_latents_has_no_encode_and_decode(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = models.RestorationUNet((16, 16, 2), filters=(4, 8), num_blocks=1)
    export_model(model, tmp_path, ["savedmodel"], IMAGES[..., :2])
    served = tf.saved_model.load(str(tmp_path / "savedmodel"))
    assert set(served.signatures) == {"serve", "serving_default", "reconstruct_uint8"}  # nor files of 2 channels


@savedmodel
def test_a_masked_model_takes_no_whole_photos(tmp_path):
    tf = pytest.importorskip("tensorflow")
    export_model(models.ViTReconstructor(**TINY, mask_ratio=0.5), tmp_path, ["savedmodel"], IMAGES)
    served = tf.saved_model.load(str(tmp_path / "savedmodel"))
    assert set(served.signatures) == {"serve", "serving_default", "encode", "decode"}


@savedmodel
def test_formats_of_earlier_exports_keep_their_certificates(tmp_path, model):
    export_model(model, tmp_path, ["savedmodel"], IMAGES)
    earlier = json.loads((tmp_path / "parity.json").read_text())["files"]["savedmodel"]
    assert export_model(model, tmp_path, ["keras"], IMAGES)["files"]["savedmodel"] == earlier
    assert set(json.loads((tmp_path / "parity.json").read_text())["files"]) == {"savedmodel", "live", "keras"}
    shutil.rmtree(tmp_path / "savedmodel")
    assert set(export_model(model, tmp_path, ["keras"], IMAGES)["files"]) == {"live", "keras"}


def test_a_file_that_answers_otherwise_is_not_left(tmp_path, monkeypatch, model):
    def write(model, path, images):
        copy = type(model).from_config(model.get_config())
        weights = model.get_weights()
        copy.set_weights([weights[0] + 0.02, *weights[1:]])
        copy.save(path)

    monkeypatch.setitem(export.FORMATS, "keras", export.FORMATS["keras"]._replace(write=write))
    with pytest.raises(RuntimeError, match=r"exported keras must have at most 0\.0001 difference from the live model"):
        export_model(model, tmp_path, ["keras"], IMAGES)
    assert not list(tmp_path.iterdir())


@savedmodel
def test_a_damaged_file_is_not_left_and_what_was_there_stays(tmp_path, monkeypatch, model):
    pytest.importorskip("tensorflow")

    def write(model, path, images):
        export._write_savedmodel(model, path, images)
        (variables,) = Path(path, "variables").glob("*.data*")
        content = bytearray(variables.read_bytes())
        content[len(content) // 2] ^= 64
        variables.write_bytes(content)

    monkeypatch.setitem(export.FORMATS, "savedmodel", export.FORMATS["savedmodel"]._replace(write=write))
    (tmp_path / "savedmodel").mkdir()
    with pytest.raises(RuntimeError, match="exported savedmodel cannot be run: DataLossError"):
        export_model(model, tmp_path, ["savedmodel"], IMAGES)
    assert [path.name for path in tmp_path.rglob("*")] == ["savedmodel"]


def tiny(name):
    sizes = {"latent_dim": 5, "decoder_num_layers": 1, "decoder_num_heads": 2, "decoder_hidden_dim": 8}
    if name == "pretrained":
        return models.PretrainedViTReconstructor(tiny_backbone(), **sizes, decoder_mlp_dim=12, strategy="lora:2")
    if name == "autoencoder":
        return models.ConvAutoencoder((16, 16, 3), filters=(4, 8), latent_dim=5)
    return models.ViTReconstructor(**TINY)


@tensorflow
@pytest.mark.parametrize(
    "name", ["vit", *(pytest.param(n, marks=pytest.mark.slow) for n in ("autoencoder", "pretrained"))]
)
def test_onnx_and_litert_take_any_batch(tmp_path, name):
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package, reason="in the extra `export`")
    model = tiny(name)
    for variable in model.trainable_variables:  # last layers of zeros would hide the network
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.05))
    formats = ["onnx", "litert"]
    certificate = export_model(model, tmp_path, formats, IMAGES)
    assert set(certificate["files"]) == {"live", *formats}
    for format in formats:
        run = parity.LOADERS[format](tmp_path / export.FORMATS[format].file)
        for batch in (IMAGES[:1], np.concatenate([IMAGES, IMAGES])):
            np.testing.assert_allclose(run(batch), outputs_of(model, batch), atol=2e-5)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow writes every format")
@pytest.mark.parametrize("name", [n for n, f in export.FORMATS.items() if not can_export(f.keras_name)])
def test_a_backend_that_cannot_write_a_format_says_which_can(tmp_path, model, name):
    called = export.FORMATS[name].keras_name
    with pytest.raises(RuntimeError, match=f"{called} cannot be exported .* KERAS_BACKEND=tensorflow"):
        export_model(model, tmp_path, ["keras", name], IMAGES)
    assert not list(tmp_path.iterdir())


@tensorflow
@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, name):
    model = models.ViTReconstructor(**TINY)
    for package in export.FORMATS[name].packages:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"{name} needs .*{package}.* extra `export`: .*\[export\]"):
            export_model(model, tmp_path, ["keras", name], IMAGES)
        monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_only_a_savedmodel_needs_a_size(tmp_path):
    model = models.RestorationUNet((None, None, 3), filters=(4, 8))
    assert "keras" in export_model(model, tmp_path / "keras", ["keras"], IMAGES)["files"]
    if can_export(export.FORMATS["savedmodel"].keras_name):
        with pytest.raises(ValueError, match="must have a height and a width"):
            export_model(model, tmp_path / "saved", ["keras", "savedmodel"], IMAGES)
        assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    "name", ["keras", pytest.param("onnx", marks=tensorflow), pytest.param("litert", marks=tensorflow)]
)
def test_images_may_be_of_64_bits_but_no_integers(tmp_path, name):
    for package in export.FORMATS[name].packages:
        pytest.importorskip(package, reason="in the extra `export`")
    model = models.ConvAutoencoder((16, 16, 3), filters=(4, 8), latent_dim=5)
    assert name in export_model(model, tmp_path / "export", [name], IMAGES.astype("float64"))["files"]
    with pytest.raises(ValueError, match="Received: dtype=uint8"):
        export_model(model, tmp_path / "no", [name], (IMAGES * 255).astype("uint8"))
    assert not (tmp_path / "no").exists()


def test_unknown_formats_are_named(tmp_path):
    with pytest.raises(ValueError, match="Received: 'pickle'"):
        export_model(models.ViTReconstructor(**TINY), tmp_path, ["pickle"], IMAGES)


def test_the_saved_model_is_the_model_without_its_optimizer(tmp_path, model):
    export_model(model, tmp_path, ["keras"], IMAGES)
    model.save(tmp_path / "with_optimizer.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(loaded, IMAGES), outputs_of(model, IMAGES), atol=1e-6)
    assert (tmp_path / "model.keras").stat().st_size < 0.7 * (tmp_path / "with_optimizer.keras").stat().st_size
