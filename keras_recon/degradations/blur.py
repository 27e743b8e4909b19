from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.ndimage

from keras_recon.degradations.base import Degradation, is_number, require


@dataclass(frozen=True)
class GaussianBlur(Degradation):
    """Blur by a Gaussian, cut at four standard deviations; the image is mirrored at its borders.

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
    """Blur by even motion along a straight line; the image is mirrored at its borders.

    Args:
        length: of the way, in pixels.
        angle: of the way, in degrees counter-clockwise from the horizontal; None draws one for each image.

    Example:

    >>> point = np.zeros((17, 17, 1), "float32")
    >>> point[8, 8] = 1
    >>> blurred = keras_recon.degradations.MotionBlur(length=4, angle=90)(point, np.random.default_rng(0))
    >>> np.flatnonzero(blurred.sum(axis=(0, 2)) > 1e-6).tolist()  # straight up: one column
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
    """The kernel: `length` points a pixel apart, each shared between the four pixels around it by nearness."""
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
