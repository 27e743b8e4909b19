"""Blur and loss of resolution."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.ndimage

from keras_recon.degradations.base import Degradation, is_number, require
from keras_recon.images.pixels import resize_bicubic


@dataclass(frozen=True)
class GaussianBlur(Degradation):
    """Convolution with a Gaussian, truncated at four standard deviations. Borders are reflected.

    Args:
        sigma: standard deviation in pixels.

    Example:
    >>> point = np.zeros((17, 17, 1), "float32")
    >>> point[8, 8] = 1
    >>> blurred = keras_recon.degradations.GaussianBlur(sigma=1.0)(point, np.random.default_rng(0))
    >>> round(float(blurred.max()), 3)  # 1 / (2 pi sigma^2)
    0.159
    """

    name: ClassVar = "blur"
    sigma: float

    def __post_init__(self):
        require(is_number(self.sigma, 0), "sigma", "a number from 0", self.sigma)

    def apply(self, image, rng):
        return scipy.ndimage.gaussian_filter(image, self.sigma, axes=(0, 1))


@dataclass(frozen=True)
class MotionBlur(Degradation):
    """Blur by uniform motion along a straight line. Borders are reflected.

    Args:
        length: length of the line in pixels, an integer.
        angle: direction in degrees counter-clockwise from the horizontal, from 0 to 180; None draws one for each image.

    Example:
    >>> point = np.zeros((17, 17, 1), "float32")
    >>> point[8, 8] = 1
    >>> blurred = keras_recon.degradations.MotionBlur(length=4, angle=90)(point, np.random.default_rng(0))
    >>> np.flatnonzero(blurred.sum(axis=(0, 2)) > 1e-6).tolist()  # vertical: one column
    [8]
    """

    name: ClassVar = "motion"
    length: int
    angle: float | None = None

    def __post_init__(self):
        require(is_number(self.length, 1, kind=int), "length", "a whole number from 1", self.length)
        angle = self.angle
        require(angle is None or is_number(angle, 0, 180), "angle", "a number from 0 to 180, or None", angle)

    def apply(self, image, rng):
        angle = rng.uniform(0, 180) if self.angle is None else self.angle
        return scipy.ndimage.convolve(image, _line(self.length, angle)[..., None])


def _line(length, angle):
    """Return the kernel: `length` points, one pixel apart, each spread bilinearly over the four pixels around it."""
    radius = length // 2 + 1
    along = np.arange(length) - (length - 1) / 2
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    rows, columns = radius - along * np.sin(np.radians(angle)), radius + along * np.cos(np.radians(angle))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    for i, row_share in ((0, 1 - down), (1, down)):
        for j, column_share in ((0, 1 - right), (1, right)):
            np.add.at(kernel, (top + i, left + j), row_share * column_share / length)
    return kernel


@dataclass(frozen=True)
class Downsample(Degradation):
    """Bicubic downscaling with antialiasing, and bicubic upscaling to the old size. NOT clipped: edges overshoot.

    Args:
        factor: old pixels per new pixel along each side, at least 1.

    Example:
    >>> image = np.random.default_rng(0).random((32, 48, 3), "float32")
    >>> smooth = keras_recon.degradations.Downsample(factor=4)(image, np.random.default_rng(0))
    >>> smooth.shape, bool(smooth.std() < image.std() / 2)
    ((32, 48, 3), True)
    """

    name: ClassVar = "downsample"
    factor: float

    def __post_init__(self):
        require(is_number(self.factor, 1), "factor", "a number from 1", self.factor)

    def apply(self, image, rng):
        size = image.shape[:2]
        return resize_bicubic(resize_bicubic(image, [max(1, round(side / self.factor)) for side in size]), size)
