import numpy as np
import pytest
import scipy.stats

from keras_recon.degradations import GaussianNoise, PoissonGaussianNoise
from keras_recon.degradations.noise import LEVELS, NORMAL, fill_normal


def rng(seed=0):
    return np.random.default_rng(seed)


def flat(value, shape=(200, 200, 3)):
    return np.full(shape, value, "float32")


def test_gaussian_noise_is_white_normal_and_not_clipped():
    noise = (GaussianNoise(25)(flat(0.0), rng()) / (25 / 255)).astype("float64")
    assert noise.min() < -4
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):  # independent of neighbours and of the other channels
        assert abs(np.mean(noise * np.roll(noise, shift, axis=(0, 1, 2)))) < 0.01


def test_a_range_draws_a_sigma_for_each_image():
    generator = rng()
    sigmas = [255 * np.std(GaussianNoise((10, 50))(flat(0.5, (40, 40, 3)), generator)) for _ in range(300)]
    assert scipy.stats.kstest(sigmas, "uniform", args=(10, 40)).pvalue > 0.01


@pytest.mark.parametrize("value", [0.05, 0.8])
def test_poisson_gaussian_noise_has_its_mean_and_variance(value):
    noisy = PoissonGaussianNoise(peak=20, sigma=10)(flat(value), rng())
    assert np.mean(noisy) == pytest.approx(value, abs=4e-3)
    assert np.var(noisy) == pytest.approx(value / 20 + (10 / 255) ** 2, rel=0.02)


def test_photons_are_counted():
    counts = 20 * PoissonGaussianNoise(peak=20)(flat(0.3), rng())
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    expected = scipy.stats.poisson(0.3 * 20).pmf(np.arange(15))
    np.testing.assert_allclose(np.bincount(np.rint(counts).astype(int).ravel())[:15] / counts.size, expected, atol=4e-3)
    assert PoissonGaussianNoise(peak=20)(flat(-0.1, (4, 4, 1)), rng()).max() == 0  # what noise before it left


def test_the_levels_are_quantiles_of_the_normal_distribution():
    expected = scipy.stats.norm.ppf((np.arange(LEVELS) + 0.5) / LEVELS)
    np.testing.assert_allclose(np.sort(NORMAL), expected, rtol=1e-6, atol=1e-7)
    assert NORMAL.var() == pytest.approx(1, abs=1e-4)


def test_tails_are_drawn_without_steps():
    values = np.empty(2**23, "float32")
    fill_normal(values, rng())
    outer = np.abs(values[np.abs(values) > scipy.stats.norm.isf(1 / LEVELS)].astype("float64"))
    assert len(outer) == pytest.approx(2 * len(values) / LEVELS, rel=0.2)
    assert len(np.unique(outer)) == len(outer)
    tail = scipy.stats.truncnorm(scipy.stats.norm.isf(1 / LEVELS), np.inf)
    assert scipy.stats.kstest(outer, tail.cdf).pvalue > 0.01
    inner = values[np.abs(values) < 4]
    assert np.isin(inner, NORMAL).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 4097])
def test_every_value_is_filled(count):
    values = np.full(count, np.nan, "float32")
    fill_normal(values, rng())
    assert np.isfinite(values).all()


@pytest.mark.parametrize("noise", [GaussianNoise(25), GaussianNoise((10, 50)), PoissonGaussianNoise(peak=30)])
@pytest.mark.parametrize("turned", [np.rot90, lambda image: np.moveaxis(image, 2, 0), np.asfortranarray])
def test_the_order_in_memory_does_not_matter(noise, turned):
    image = turned(rng().random((40, 50, 3), "float32"))
    np.testing.assert_array_equal(noise(image, rng(1)), noise(np.ascontiguousarray(image), rng(1)))
