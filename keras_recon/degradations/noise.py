"""Noise of images: white Gaussian, and that of a camera's sensor."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from scipy.special import ndtri

from keras_recon.degradations.base import Degradation, is_number, require

LEVELS = 2**16
# Quantiles of the normal distribution at the middle of equal shares: the highest first, then from the lowest upwards.
NORMAL = ndtri((np.roll(np.arange(LEVELS), 1) + 0.5) / LEVELS).astype("float32")


@dataclass(frozen=True)
class GaussianNoise(Degradation):
    """Additive white Gaussian noise, independent in every channel. NOT clipped: values leave [0, 1].

    Args:
        sigma: standard deviation in units of 1/255; or a range (low, high), from which one is drawn for each image.

    Example:
    >>> image = np.full((64, 64, 3), 0.5, "float32")
    >>> noisy = keras_recon.degradations.GaussianNoise(sigma=25)(image, np.random.default_rng(0))
    >>> round(255 * float(noisy.std()))
    25
    """

    name: ClassVar = "noise"
    sigma: float | tuple[float, float]

    def __post_init__(self):
        low, high = self.sigma if isinstance(self.sigma, tuple) and len(self.sigma) == 2 else (self.sigma,) * 2
        valid = is_number(low, 0) and is_number(high, low)
        require(valid, "sigma", "a number from 0, or a range (low, high) of such", self.sigma)

    def apply(self, image, rng):
        return self.batch(image[None], [rng])[0]

    def batch(self, images, rngs):
        degraded = np.empty(images.shape, images.dtype)  # in C order, so that it has a flat view
        is_range = isinstance(self.sigma, tuple)
        levels = NORMAL if is_range else NORMAL * np.float32(self.sigma / 255)
        for image, noisy, rng in zip(images, degraded, rngs):
            sigma = rng.uniform(*self.sigma) if is_range else None
            fill_normal(noisy.reshape(-1), rng, levels)
            if is_range:
                noisy *= np.float32(sigma / 255)
            noisy += image
        return degraded


@dataclass(frozen=True)
class PoissonGaussianNoise(Degradation):
    """Shot noise of counted photons, and additive read-out noise, as in a camera's sensor. NOT clipped.

    From "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data" (Foi et al., 2008).

    Args:
        peak: expected number of photons for a pixel of value 1. Fewer photons give more noise.
        sigma: standard deviation of the Gaussian part in units of 1/255.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> noise = keras_recon.degradations.PoissonGaussianNoise(peak=30)
    >>> bright, dark = (noise(np.full((64, 64, 3), value, "float32"), rng) for value in (0.9, 0.1))
    >>> bool(bright.std() > 2 * dark.std())
    True
    """

    name: ClassVar = "poisson"
    peak: float
    sigma: float = 0.0

    def __post_init__(self):
        require(is_number(self.peak, 0) and self.peak > 0, "peak", "a number above 0", self.peak)
        require(is_number(self.sigma, 0), "sigma", "a number from 0", self.sigma)

    def apply(self, image, rng):
        counts = rng.poisson(self.peak * np.maximum(image, 0).astype("float64"))
        noisy = counts / self.peak + self.sigma / 255 * rng.standard_normal(image.shape)
        return noisy.astype("float32")


def fill_normal(values: np.ndarray, rng: np.random.Generator, levels: np.ndarray = NORMAL):
    """Fill an array with normally distributed values, six times as fast as NumPy.

    Each value is one of 65,536 levels, selected by 16 random bits. The outermost levels, at 4.2 standard deviations,
    are replaced by values from the continuous tails.

    Args:
        values: float32 (values,), filled in place.
        rng: the generator.
        levels: `NORMAL` times the standard deviation.

    Example:
    >>> values = np.empty(10_000, "float32")
    >>> fill_normal(values, np.random.default_rng(0))
    >>> round(float(values.std()), 1)
    1.0
    """
    words = rng.integers(0, 2**64 - 1, -(-values.size // 4), dtype="uint64", endpoint=True)
    numbers = words.astype("<u8", copy=False).view("<u2")[: values.size]
    cv2.LUT(numbers[:, None], levels, dst=values[:, None])  # as `levels[numbers]`, 5 times as fast
    outer = np.flatnonzero(numbers < 2)
    if len(outer):
        tails = ndtri((1 - rng.random(len(outer))) / LEVELS) * (levels[0] / NORMAL[0])
        values[outer] = np.where(numbers[outer] == 1, tails, -tails)
