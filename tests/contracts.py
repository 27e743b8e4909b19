"""What every layer, model, loss and metric must do, on every backend: one call tests it all.

What a model must do for its users' own constructions stands in `composition_contracts`.
"""

import keras
import numpy as np
import pytest
from keras import ops

# Whether to run steps eagerly where there are few: tracing them takes longer, but not with JAX, which compiles every
# operation of an eager step for itself.
EAGER = keras.backend.backend() != "jax"
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


def check_training(model, images, targets=None):
    """Steps give a finite loss and, in float32, move every trainable weight, also those behind heads of zeros."""
    targets = images if targets is None else targets
    full = model.compute_dtype == "float32"
    before = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-10)
    model.compile(optimizer, "mse", run_eagerly=EAGER)
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
