import numpy as np
import pytest
from compression.tiny_codecs import random_latents, tiny_codec, tiny_entropy_model
from keras import ops
from scipy.signal import correlate

from keras_recon.compression import integer
from keras_recon.compression.entropy import MAX_LOG_SCALE, MIN_LOG_SCALE, checkerboard
from keras_recon.compression.integer import NUM_SCALES, SCALES_PER_OCTAVE, UNIT, WEIGHT_UNIT, IntegerEntropyModel

QUALITY, KNOTS = 51, np.array([[0.8, 0.2]], "float32")  # 51 / 255 of the way from the first knot to the second


@pytest.mark.parametrize("chunk", [20, 1000])
def test_it_agrees_with_the_float_layer(chunk, monkeypatch):
    monkeypatch.setattr(integer, "CHUNK", chunk)
    layer = tiny_entropy_model()
    model = IntegerEntropyModel(layer, num_knots=2)
    hyper = np.rint(random_latents(1, 2, 3, 2))
    features = ops.convert_to_numpy(layer.features(hyper, KNOTS))
    whole = model.features(hyper[0], QUALITY)
    np.testing.assert_array_equal(whole, np.rint(whole))
    np.testing.assert_allclose(whole / UNIT, features[0], atol=0.02)
    latents = random_latents(1, *features.shape[1:3], 8)
    slices = [latents[..., :3], latents[..., 3:]]
    first = checkerboard(np, *features.shape[1:3])
    for i, half in np.ndindex(2, 2):
        known = slices[i] * (first[..., None] if half else 0)
        expected = layer.parameters(i, features, slices[:i], known)
        places, means, scales = zip(*model.parameters(i, half, whole, np.rint(UNIT * latents[0])))
        rows, columns = np.concatenate(places, axis=1)
        assert len(places) == (8 if chunk == 20 else 1)
        np.testing.assert_array_equal((rows, columns), np.nonzero(first != half))
        mean, log_scale = (ops.convert_to_numpy(array)[0, rows, columns] for array in expected)
        means, scales = np.concatenate(means), np.concatenate(scales)
        np.testing.assert_array_equal(means, np.rint(means))
        np.testing.assert_allclose(means / UNIT, mean, atol=0.1)
        assert mean.std() > 0.5 and log_scale.std() > 0.5
        log_scale = np.clip(log_scale, MIN_LOG_SCALE, MAX_LOG_SCALE)
        steps = SCALES_PER_OCTAVE * (log_scale - MIN_LOG_SCALE)
        assert scales.dtype == "uint8" and np.abs(scales - steps).max() < 0.5 + 0.1


def test_qualities_are_those_of_the_float_model():
    codec = tiny_codec(num_knots=4)
    model = IntegerEntropyModel(codec.entropy_model, num_knots=4)
    hyper = np.rint(random_latents(1, 1, 1, 2))
    for quality in (0, 60, 85, 128, 255):
        knots = codec.knots(np.array([quality / 255]))
        features = ops.convert_to_numpy(codec.entropy_model.features(hyper, knots))[0]
        np.testing.assert_allclose(model.features(hyper[0], quality) / UNIT, features, atol=0.02)


def test_the_scales_of_hyper_latents_are_rounded_to_those_that_there_are():
    layer = tiny_entropy_model()
    layer.hyper_log_scale.assign([-9.0, 0.37])
    model = IntegerEntropyModel(layer, num_knots=2)
    np.testing.assert_array_equal(model.hyper_scales, [0, round((0.37 - MIN_LOG_SCALE) * SCALES_PER_OCTAVE)])
    layer.hyper_log_scale.assign([MAX_LOG_SCALE, 20.0])
    np.testing.assert_array_equal(IntegerEntropyModel(layer, 2).hyper_scales, [NUM_SCALES - 1] * 2)


@pytest.mark.parametrize("size, columns", [(1, 9), (3, 9), (3, 8)])
def test_convolutions_are_exact_in_any_bands_and_halves(size, columns, monkeypatch):
    rng = np.random.default_rng(0)
    x, kernel = rng.integers(-(2**20), 2**20, (7, columns, 4)), rng.integers(-(2**10), 2**10, (size, size, 4, 5))
    bias = rng.integers(-(2**30), 2**30, 5)
    padded = np.pad(x, [(size // 2, size // 2)] * 2 + [(0, 0)])
    sums = [correlate(padded, kernel[..., i], "valid", "direct")[..., 0] + bias[i] for i in range(5)]
    expected = (np.stack(sums, axis=-1) + WEIGHT_UNIT // 2) // WEIGHT_UNIT
    weights = [array.astype("float64") for array in (kernel, bias)]
    halves = {None: np.ones((7, columns), bool)} | {half: checkerboard(np, 7, columns) != half for half in (0, 1)}
    for chunk in (integer.CHUNK, 20):
        monkeypatch.setattr(integer, "CHUNK", chunk)
        for half, positions in halves.items():
            left = positions.copy()
            for at, values in integer._conv(x.astype("float32").__getitem__, x.shape[:2], *weights, half):
                np.testing.assert_array_equal(values, expected[at])
                assert left[at].all()
                left[at] = False
            assert not left.any()


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_too_large_for_exact_sums_are_refused(value):
    layer = tiny_entropy_model()
    layer.hidden[1].kernel.assign(np.full(layer.hidden[1].kernel.shape, value))
    with pytest.raises(ValueError, match=r"The weights of .*hidden_1 are too large for exact sums"):
        IntegerEntropyModel(layer, num_knots=2)
