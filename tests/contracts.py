"""What every layer, model, loss and metric must do, on every backend: one call tests it all."""

import gc

import keras
import numpy as np
import pytest
from keras import ops

import keras_recon
from keras_recon.export.parity import LOADERS

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]
if keras.backend.backend() == "jax":
    import jax

    if jax.default_backend() == "cpu":  # "The precision 'F16_F16_F32' is not supported by dot_general on CPU"
        POLICIES.remove("mixed_float16")


def slow(*values):
    """A case of a test that only `-m slow` runs: its kind has a quicker one."""
    return pytest.param(*values, marks=pytest.mark.slow)


def random_images(*shape, seed: int = 0) -> np.ndarray:
    """Smooth random images in [0, 1], float32: noise alone has nothing that a model could learn."""
    batch, height, width, channels = shape
    rng = np.random.default_rng(seed)
    coarse = rng.random((batch, height // 4 + 1, width // 4 + 1, channels))
    fine = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    return np.clip(fine + 0.05 * rng.standard_normal(fine.shape), 0, 1).astype("float32")


def outputs_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What inference answers, called eagerly: `predict` would trace, which takes longer than all of a test."""
    return ops.convert_to_numpy(model(images, training=False))


def check_layer(layer_class: type, config: dict, inputs: np.ndarray, output_shape: tuple):
    """Shape, dtype policies, and equal outputs from a copy by config and weights."""
    layer = layer_class(**config)
    outputs = layer(inputs)
    assert tuple(outputs.shape) == output_shape
    copy = layer_class.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build(inputs.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(ops.convert_to_numpy(copy(inputs)), ops.convert_to_numpy(outputs))
    for policy in POLICIES:
        layer = layer_class(**config, dtype=policy)
        half = layer(inputs)
        assert keras.backend.standardize_dtype(half.dtype) == layer.compute_dtype
        assert np.isfinite(ops.convert_to_numpy(ops.cast(half, "float32"))).all()


def check_model(model_class: type, config: dict, path):
    """Shapes, range, config, `summary`, save and load, dtype policies, and one training step."""
    model = model_class.from_config(config)
    images = random_images(4, *model.image_shape)
    assert model.built
    lines = []
    model.summary(line_length=160, expand_nested=True, print_fn=lines.append)
    named = {f"{layer.name} ({type(layer).__name__})" for layer in model._flatten_layers(include_self=False)}
    assert not {name for name in named if name not in "\n".join(lines) and "(InputLayer)" not in name}
    latents = model.encode(images)
    assert tuple(latents.shape) == (4, *model.latent_shape)
    assert model.compression_ratio == images[0].size / np.prod(model.latent_shape)
    outputs = outputs_of(model, images)
    np.testing.assert_allclose(model.predict(images, verbose=0), outputs, atol=1e-5)
    assert outputs.shape == images.shape and outputs.dtype == np.float32
    assert outputs.min() >= 0 and outputs.max() <= 1
    assert model.decodes_latents and not model.is_masked
    np.testing.assert_allclose(ops.convert_to_numpy(model.decode(latents)), outputs, atol=1e-5)
    for name, value in config.items():
        assert model.get_config()[name] == value, name
    model.save(path / "model.keras")
    model.save_to_preset(path / "preset")
    loaded, clone = keras.saving.load_model(path / "model.keras"), model.clone()
    assert clone.get_config() == model.get_config()
    for copy in (loaded, clone, model_class.from_preset(path / "preset")):
        np.testing.assert_allclose(outputs_of(copy, images), outputs, atol=1e-6)
    for policy in POLICIES:
        model = clone if policy == "float32" else model_class.from_config({**config, "dtype": policy})
        policies = {layer.dtype_policy.name for layer in model.layers}
        assert policies <= {policy, "float32"}  # the linear path, and a backbone as it was given
        assert policy in policies or not model.trainable_variables
        if model.linear_path:
            model.adapt(images)
        if model.trainable_variables:
            check_training(model, images)
        if model.trainable_variables and policy == "float32":
            model.save(path / "trained.keras")
            loaded = keras.saving.load_model(path / "trained.keras")
            for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
                np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
        assert np.isfinite(outputs_of(model, images)).all()


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
    if model.has_latents:
        models["trunk"] = keras.Model(images, keras.layers.Dense(2)(pool(model.encode(images))))
    if model.decodes_latents:
        latents = keras.Input(model.latent_shape)
        models["decoder"] = keras.Model(latents, pool(model.decode(latents)))
    for name, composed in models.items():
        inputs = random_images(2, *(model.latent_shape if name == "decoder" else model.image_shape))
        outputs = outputs_of(composed, inputs)
        composed.compile("sgd", "mse", run_eagerly=True)
        if composed.trainable_variables:
            composed.fit(inputs, outputs + 0.1, verbose=0)
            assert not np.array_equal(outputs_of(composed, inputs), outputs), name
        composed.save(path / f"{name}.keras")
        loaded = keras.saving.load_model(path / f"{name}.keras")
        np.testing.assert_array_equal(outputs_of(loaded, inputs), outputs_of(composed, inputs), err_msg=name)


def check_inputs(model: keras.Model):
    """Integers, pixels up to 255 and another size are refused in a sentence, wherever they come in; float64 is cast."""
    images = random_images(2, *model.image_shape)
    model.compile("sgd", loss="charbonnier", metrics=["psnr", "mae"], run_eagerly=True)
    calls = {"call": model, "predict": lambda x: model.predict(x, verbose=0)}
    if model.has_latents:
        calls["encode"] = model.encode
    if model.linear_path:
        calls["adapt"] = model.adapt
    if model.trainable_variables:
        calls["fit"] = lambda x: model.fit(x, images, verbose=0)
    wide = np.concatenate([images, images], axis=2)
    for name, call in calls.items():
        call(images.astype("float64"))
        with pytest.raises(ValueError, match=r"divided? by 255"):
            call((images * 255).astype("uint8"))
        if name != "adapt" and not (name == "fit" and model.upscale > 1):
            with pytest.raises(ValueError, match=r"must have the shape \(batch, .*Received: shape=\(2, 16, 32, 3\)"):
                call(wide)
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
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(images, images + 0.1, verbose=0)
    moved = {v.path for v in model.weights if not np.array_equal(before[v.path], ops.convert_to_numpy(v))}
    assert moved and moved <= {*left} | {v.path for v in model.non_trainable_variables if "moving" in v.name}


def check_lora(model: keras.Model, path):
    """`enable_lora` trains nothing but its updates; they are in a file and a clone, and merged for use."""
    images = random_images(4, *model.image_shape)

    def train():
        model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-10), "mse", run_eagerly=True)
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


def check_training(model, images, targets=None):
    """Steps give a finite loss and, in float32, move every trainable weight, also those behind heads of zeros."""
    targets = images if targets is None else targets
    full = model.compute_dtype == "float32"
    before = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-10)
    # Eagerly: tracing the step takes longer than these few; `test_training` runs it traced.
    model.compile(optimizer, "mse", run_eagerly=True)
    history = model.fit(images, targets, batch_size=len(images) // 2, epochs=2 if full else 1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for old, variable in zip(before if full else [], model.trainable_variables):
        # A bias of attention keys shifts all logits of a query alike: its gradient is rounding, or zero.
        moved = not np.array_equal(old, ops.convert_to_numpy(variable))
        assert moved or variable.path.endswith(("key/bias", "key_dense/bias")), variable.path


def check_loss(loss: keras.losses.Loss):
    """Zero for equal images, positive otherwise, float32 from half precision, config round trip, sample weights."""
    y_true, y_pred = random_images(3, 16, 16, 3, seed=1), random_images(3, 16, 16, 3, seed=2)
    value = float(loss(y_true, y_pred))
    assert value > 0
    assert abs(float(loss(y_true, y_true))) < 2e-3  # Charbonnier has its epsilon
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(copy(y_true, y_pred)) == value
    half = loss(ops.cast(y_true, "bfloat16"), ops.cast(y_pred, "bfloat16"))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    assert abs(float(half) - value) < 0.02
    if loss.call(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)).shape == (3,):
        only_first = float(loss(y_true, y_pred, sample_weight=np.array([1.0, 0.0, 0.0], "float32")))
        assert abs(only_first * 3 - float(loss(y_true[:1], y_pred[:1]))) < 1e-5


def check_metric(metric: keras.metrics.Metric, y_true: np.ndarray, y_pred: np.ndarray):
    """The mean over images whatever the batches, float32 from half precision, reset, config round trip."""
    metric.update_state(y_true, y_pred)
    together = float(metric.result())
    metric.reset_state()
    metric.update_state(y_true[:1], y_pred[:1])
    metric.update_state(y_true[1:], y_pred[1:])
    assert abs(float(metric.result()) - together) < 1e-4
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    copy.update_state(ops.cast(y_true, "bfloat16"), ops.cast(y_pred, "bfloat16"))
    assert abs(float(copy.result()) - together) < 0.05 * abs(together)
