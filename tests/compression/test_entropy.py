import keras
import numpy as np
import pytest
from compression.tiny_codecs import random_latents, tiny_entropy_model
from contracts import EAGER
from keras import ops
from scipy.stats import logistic

from keras_recon.compression import EntropyModel
from keras_recon.compression.entropy import LEAK, MAX_LOG_SCALE, MIN_LOG_SCALE, logistic_bits, within_scales

LOG_SCALES = np.linspace(MIN_LOG_SCALE, MAX_LOG_SCALE, 22, dtype="float32")
KNOTS = np.array([[0.7, 0.3], [0.0, 1.0]], "float32")


def bits_of(residuals, log_scales):
    return ops.convert_to_numpy(logistic_bits(ops.convert_to_tensor(residuals), ops.convert_to_tensor(log_scales)))


def test_bits_are_those_of_scipys_logistic_distribution():
    residuals = np.array([0.0, 0.25, -0.5, 1, -1, 2, 7, -30, 100, 1e4], "float32")
    grid = np.meshgrid(residuals, LOG_SCALES)
    scales, size = 2.0 ** grid[1].astype("float64"), np.abs(grid[0].astype("float64"))
    probabilities = logistic.cdf((0.5 - size) / scales) - logistic.cdf((-0.5 - size) / scales)
    known = probabilities > 1e-300  # for others the cdf is zero
    assert known.mean() > 0.7
    np.testing.assert_allclose(bits_of(*grid)[known], -np.log2(probabilities[known]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_scale", [MIN_LOG_SCALE, -1.0, 2.3, MAX_LOG_SCALE])
@pytest.mark.parametrize("mean", [0.0, 0.37])
def test_probabilities_of_all_integers_add_up_to_one(log_scale, mean):
    residuals = (np.arange(-3000, 3001) - mean).astype("float32")
    bits = bits_of(residuals, np.full_like(residuals, log_scale))
    assert bits.min() >= 0
    assert abs(np.exp2(-bits.astype("float64")).sum() - 1) < 1e-4


class Bits(keras.Model):
    """Whose weights are residuals and log-scales, so that a step of SGD tells their gradients."""

    def __init__(self, *values):
        super().__init__()
        self.values = [self.add_weight(shape=value.shape, initializer="zeros") for value in values]
        self.set_weights(values)

    def call(self, inputs):
        return inputs + ops.sum(logistic_bits(*self.values))


def test_bits_and_gradients_are_finite_far_out():
    residuals, log_scales = np.meshgrid(np.array([-1e4, -300, -1, 0, 1, 17, 1e4], "float32"), LOG_SCALES)
    assert np.isfinite(bits_of(residuals, log_scales)).all()
    model = Bits(residuals, log_scales)
    model.compile(keras.optimizers.SGD(1.0), lambda y_true, y_pred: y_pred, run_eagerly=EAGER)
    model.fit(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
    of_residuals, of_log_scales = (
        before - after for before, after in zip((residuals, log_scales), model.get_weights())
    )
    assert np.isfinite(of_residuals).all() and np.isfinite(of_log_scales).all()
    # Far out, the density falls by e per scale, and the bits by as much if the scale grows by so much.
    assert (of_residuals * residuals)[residuals != 0].min() > 0
    assert np.abs(of_residuals[residuals == 0]).max() < 1e-5
    far = np.abs(residuals) > 100 * 2.0**log_scales
    expected = np.sign(residuals) / (2.0**log_scales * np.log(2))
    np.testing.assert_allclose(of_residuals[far], expected[far], rtol=0.01, atol=2e-3)  # in float32, beside 10,000
    assert (of_log_scales[far] < 0).all()


def test_scales_are_bounded_but_for_a_slope():
    values = np.array([MIN_LOG_SCALE - 100, -1.0, MAX_LOG_SCALE, MAX_LOG_SCALE + 100], "float32")
    bounded = ops.convert_to_numpy(within_scales(ops.convert_to_tensor(values)))
    expected = [MIN_LOG_SCALE - 100 * LEAK, -1.0, MAX_LOG_SCALE, MAX_LOG_SCALE + 100 * LEAK]
    np.testing.assert_allclose(bounded, expected, rtol=1e-6)


def test_latents_are_rounded_at_whole_distances_from_their_means():
    layer = EntropyModel((3, 5), hyper_dim=2, filters=4, seed=0)
    layer.build((None, None, None, 8), (None, 2))
    means = np.linspace(-0.4, 0.45, 8)
    for head, of_slice in zip(layer.heads, (means[:3], means[3:])):
        head.bias.assign(np.concatenate([of_slice, np.zeros_like(of_slice)]))
    latents = random_latents(2, 8, 8, 8)
    rounded, bits = (ops.convert_to_numpy(output) for output in layer(latents, KNOTS))
    distances = rounded - means
    np.testing.assert_allclose(distances, np.rint(distances), atol=1e-4)
    assert np.abs(rounded - latents).max() <= 0.5 + 1e-4
    # With kernels of zeros all scales are 1, and so are those of the hyper-latents.
    hyper = np.rint(ops.convert_to_numpy(layer.hyper_latents(latents)))
    expected = [bits_of(part, np.zeros_like(part)).sum(axis=(1, 2, 3)) for part in (distances.astype("float32"), hyper)]
    np.testing.assert_allclose(bits, sum(expected), rtol=1e-4)


def test_noise_is_of_training_and_of_the_bits_alone():
    layer, latents = tiny_entropy_model(), random_latents(2, 8, 8, 8)
    rounded, bits = zip(
        *(map(ops.convert_to_numpy, layer(latents, KNOTS, training=t)) for t in (True, True, False, False))
    )
    for other in rounded[1:]:
        np.testing.assert_array_equal(other, rounded[0])
    assert np.abs(rounded[0] - latents).max() <= 0.5 + 1e-5
    assert (bits[0] != bits[1]).all() and (bits[0] != bits[2]).all()
    np.testing.assert_array_equal(bits[2], bits[3])
    np.testing.assert_allclose(bits[0], bits[2], rtol=0.1)
    assert min(b.min() for b in bits) > 0


def test_start_at_knows_the_scales_of_latents():
    deviations = np.array([0.0, 1.0, 30.0, 0.3, 1000.0])
    layer = EntropyModel((2, 3), hyper_dim=2, filters=4)
    layer.build((None, None, None, 5), (None, 2))
    layer.start_at(deviations)
    scales = np.concatenate([ops.convert_to_numpy(head.bias)[size:] for head, size in zip(layer.heads, (2, 3))])
    np.testing.assert_allclose(2.0 ** scales[1:], logistic.std() ** -1 * deviations[1:], rtol=1e-5)
    assert scales[0] == MIN_LOG_SCALE


def as_model(layer):
    latents, knots = keras.Input((8, 8, 8)), keras.Input((2,))
    return keras.Model([latents, knots], layer(latents, knots))


def test_gradients_reach_every_weight_and_files_keep_them(tmp_path):
    layer, latents = tiny_entropy_model(), random_latents(2, 8, 8, 8)
    model = as_model(layer)
    before = layer.get_weights()
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-10), ["mse", lambda y_true, y_pred: y_pred], run_eagerly=EAGER)
    model.fit([latents, KNOTS], [latents, np.zeros(2)], epochs=2, verbose=0)
    for old, weight in zip(before, layer.trainable_weights, strict=True):
        assert not np.array_equal(old, ops.convert_to_numpy(weight)), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for output, expected in zip(loaded([latents, KNOTS]), model([latents, KNOTS])):
        np.testing.assert_array_equal(ops.convert_to_numpy(output), ops.convert_to_numpy(expected))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_config_round_trip_and_float32_under_any_policy(policy):
    keras.config.set_dtype_policy(policy)
    layer = tiny_entropy_model()
    assert {each.compute_dtype for each in layer._flatten_layers()} == {"float32"}
    copy = EntropyModel.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build((None, None, None, 8), (None, 2))
    copy.set_weights(layer.get_weights())
    latents = random_latents(2, 8, 8, 8)
    for output, expected in zip(copy(latents, KNOTS), layer(latents, KNOTS)):
        np.testing.assert_array_equal(ops.convert_to_numpy(output), ops.convert_to_numpy(expected))
