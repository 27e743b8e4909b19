"""What every model must do in what Keras users make of it, on every backend: nested, frozen, quantised, exported."""

import gc
import re

import keras
import numpy as np
import pytest
from contracts import EAGER, outputs_of, random_images
from keras import ops

import keras_recon
from keras_recon.export.parity import LOADERS
from keras_recon.models import Reconstructor


@keras.saving.register_keras_serializable("contracts")
class Around(keras.Model):
    """A user's subclass with a model inside."""

    def __init__(self, inner: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner
        self.pool = keras.layers.GlobalAveragePooling2D()

    def call(self, images, training=None):
        return self.pool(self.inner(images, training=training))

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}


def check_composition(model: keras.Model, path):
    """In functional, sequential and subclassed models, whole or by `encode` and `decode`: each trains, saves, loads."""
    images = keras.Input(model.image_shape)
    pool = keras.layers.GlobalAveragePooling2D()
    models = {
        "functional": keras.Model(images, pool(model(images))),
        "sequential": keras.Sequential([keras.Input(model.image_shape), model, pool]),
        "subclass": Around(model),
    }
    if isinstance(model, Reconstructor):
        models["trunk"] = keras.Model(images, keras.layers.Dense(2)(pool(model.encode(images))))
    if isinstance(model, Reconstructor) and model.decodes_latents:
        latents = keras.Input(model.latent_shape)
        models["decoder"] = keras.Model(latents, pool(model.decode(latents)))
    for name, composed in models.items():
        inputs = random_images(2, *(model.latent_shape if name == "decoder" else model.image_shape))
        outputs = outputs_of(composed, inputs)
        composed.compile("sgd", "mse", run_eagerly=EAGER)
        if composed.trainable_variables:
            composed.fit(inputs, outputs + 0.1, verbose=0)
            assert not np.array_equal(outputs_of(composed, inputs), outputs), name
        composed.save(path / f"{name}.keras")
        loaded = keras.saving.load_model(path / f"{name}.keras")
        np.testing.assert_array_equal(outputs_of(loaded, inputs), outputs_of(composed, inputs), err_msg=name)


def check_inputs(model: keras.Model):
    """Integers, pixels up to 255 and another size are refused in a sentence, wherever they come in; float64 is cast."""
    images = random_images(2, *model.image_shape)
    model.compile("sgd", loss="charbonnier", metrics=["psnr", "mae"], run_eagerly=EAGER)
    calls = {"call": model, "predict": lambda x: model.predict(x, verbose=0)}
    if isinstance(model, Reconstructor):
        calls["encode"] = model.encode
    if model.linear_path:
        calls["adapt"] = model.adapt
    if model.trainable_variables:
        calls["fit"] = lambda x: model.fit(x, images, verbose=0)
    # Fully convolutional models take any size, but not any number of channels.
    wrong = np.concatenate([images, images], axis=3 if model.fully_convolutional else 2)
    shape = re.escape(str(wrong.shape))
    for name, call in calls.items():
        call(images.astype("float64"))
        with pytest.raises(ValueError, match=r"divided? by 255"):
            call((images * 255).astype("uint8"))
        if name != "adapt" and not (name == "fit" and model.upscale > 1):
            with pytest.raises(ValueError, match=rf"must have the shape \(batch, .*Received: shape={shape}"):
                call(wrong)
    pairs = ((images * 255, images) for _ in range(2))  # a generator, which gives nothing twice
    for name, data in (("predict", images * 255), ("evaluate", images * 255), ("evaluate", pairs)):
        with pytest.raises(ValueError, match=r"divide by 255\. Received: values up to 2"):
            getattr(model, name)(data, verbose=0)
    history = model.evaluate(((images, images) for _ in range(3)), return_dict=True, verbose=0)
    assert set(history) == {"loss", "psnr", "mae"}


def check_quantization(model: keras.Model, path, monkeypatch):
    """int8 and int4 of its dense layers stay close, are saved, loaded and cloned."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)  # Keras does so after each layer, a second each among many tests
    images = random_images(3, *model.image_shape)
    for mode, tolerance in (("int8", 0.01), ("int4", 0.1)):
        quantized = model.clone()
        quantized.quantize(mode)
        outputs = outputs_of(quantized, images)
        np.testing.assert_allclose(outputs, outputs_of(model, images), atol=tolerance)
        with pytest.raises(ValueError, match=r"`enable_lora` can be called once.*Received: rank=2, a quantised model"):
            quantized.enable_lora(2)
        quantized.save(path / "model.keras")
        for copy in (keras_recon.load_model(path / "model.keras"), quantized.clone()):
            np.testing.assert_allclose(outputs_of(copy, images), outputs, atol=1e-6)
            assert copy.get_config()["quantized"] == quantized.get_config()["quantized"]
    with pytest.raises(ValueError, match=r"`mode` must be 'int8' or 'int4'.*Received: mode='float8'"):
        model.quantize("float8")


def check_freezing(model: keras.Model, path):
    """Layers that are frozen, and those in them that are not, stay what they are, and are so in a file and a clone."""
    whole = [v.path for v in model.trainable_variables]
    part = model.backbone if hasattr(model, "backbone") else model.encoder
    part.trainable = False
    kept = next(layer for layer in part._flatten_layers(include_self=False) if layer.weights and not layer._layers)
    kept.trainable = True
    left = [v.path for v in model.trainable_variables]
    assert {v.path for v in kept.trainable_variables} < {*left} < {*whole}
    model.save(path / "frozen.keras")
    for copy in (keras_recon.load_model(path / "frozen.keras"), model.clone()):
        assert [v.path for v in copy.trainable_variables] == left
    images = random_images(4, *model.image_shape)
    before = {v.path: np.array(ops.convert_to_numpy(v)) for v in model.weights}
    model.compile("sgd", "mse", run_eagerly=EAGER)
    model.fit(images, images + 0.1, verbose=0)
    moved = {v.path for v in model.weights if not np.array_equal(before[v.path], ops.convert_to_numpy(v))}
    assert moved and moved <= {*left} | {v.path for v in model.non_trainable_variables if "moving" in v.name}


def check_lora(model: keras.Model, path):
    """`enable_lora` trains nothing but its updates; they are in a file and a clone, and merged for use."""
    images = random_images(4, *model.image_shape)

    def train():
        model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-10), "mse", run_eagerly=EAGER)
        model.fit(images, images + 0.1, verbose=0)

    train()  # behind a head that is zero, nothing learns
    model.enable_lora(2)
    names = {v.name for v in model.trainable_variables if "backbone" not in model.get_config() or "lora" in v.name}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    before = outputs_of(model, images)
    train()
    outputs = outputs_of(model, images)
    assert not np.array_equal(outputs, before)
    model.save(path / "lora.keras")
    for copy in (keras_recon.load_model(path / "lora.keras"), model.clone()):
        np.testing.assert_allclose(outputs_of(copy, images), outputs, atol=1e-6)
        assert [v.path for v in copy.trainable_variables] == [v.path for v in model.trainable_variables]
    assert len(model.merged().weights) < len(model.weights)
    np.testing.assert_allclose(outputs_of(model.merged(), images), outputs, atol=1e-5)
    with pytest.raises(ValueError, match="`enable_lora` can be called once"):
        model.enable_lora(2)
    with pytest.raises(ValueError, match=r"needs a model without LoRA: model\.merged\(\)"):
        model.quantize("int8")


def check_export(model: keras.Model, format: str, path):
    """`export` of a model that was never called answers as it does, or names the backend that can write the format."""
    if keras.backend.backend() not in {"tf_saved_model": ("tensorflow", "jax")}.get(format, ("tensorflow",)):
        with pytest.raises(RuntimeError, match=f"{format} cannot be exported from .* under KERAS_BACKEND=tensorflow"):
            model.export(path / "model", format=format)
        return
    pytest.importorskip("tensorflow", reason="writes and runs what is exported")
    loader = {"tf_saved_model": "savedmodel"}.get(format, format)
    file = path / {"onnx": "model.onnx", "litert": "model.tflite"}.get(format, "model")
    for package in {"onnx": ["tf2onnx", "onnxruntime"], "litert": ["ai_edge_litert"]}.get(format, []):
        pytest.importorskip(package, reason="in the extra `export`")
    model.export(file, format=format, verbose=False)
    run = LOADERS[loader](file)
    for images in (random_images(3, *model.image_shape), random_images(1, *model.image_shape, seed=1)):
        np.testing.assert_allclose(run(images), outputs_of(model, images), atol=1e-5)
