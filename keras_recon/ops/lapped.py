import keras
import numpy as np
from keras import ops

# Of the first odd basis function, 8/5 in the paper. For patches of 4 to 16 pixels, 1.3 loses 0.02 dB to that on clean
# photos, and at noise of 25/255, where 8/5 amplifies what it should remove, it stays above PCA.
SCALE = 1.3


def lapped_transform(images, patch_size: int):
    """Mix the pixels on both sides of each border between patches, so that patches of the result overlap in the images.

    An invertible filter of `patch_size` pixels across each border, along both axes: "Time-domain lapped transforms via
    pre- and post-filtering" (Tran, Liang and Tu, 2003). A block transform of the result, such as PCA of its patches, is
    a lapped transform of the images, with twice as wide windows: it says more with as many values, and what it loses
    leaves no edges at the borders.

    Args:
        images: (batch, height, width, channels).
        patch_size: side of the patches in pixels; must divide height and width.

    Example:

    >>> images = np.random.rand(2, 32, 48, 3).astype("float32")
    >>> lapped = keras_recon.ops.lapped_transform(images, patch_size=8)
    >>> np.allclose(keras_recon.ops.inverse_lapped_transform(lapped, patch_size=8), images, atol=1e-5)
    True
    """
    return LappedTransform(patch_size)(images)


def inverse_lapped_transform(images, patch_size: int):
    """The images whose `lapped_transform` is given, (batch, height, width, channels).

    Example:

    >>> lapped = np.full((1, 16, 16, 3), 0.25, "float32")
    >>> round(float(keras.ops.max(keras_recon.ops.inverse_lapped_transform(lapped, patch_size=8))), 3)  # flat stays
    0.25
    """
    return LappedTransform(patch_size, inverse=True)(images)


@keras.saving.register_keras_serializable("keras_recon")
class LappedTransform(keras.Operation):
    """`lapped_transform`, or its inverse, as one operation of a functional model, where sizes may be unknown."""

    def __init__(self, patch_size: int, inverse: bool = False, *, name: str | None = None):
        super().__init__(name=name)
        self.patch_size = patch_size
        self.inverse = inverse

    def compute_output_spec(self, images):
        return keras.KerasTensor(images.shape, images.dtype)

    def call(self, images):
        matrix = _filter(self.patch_size)
        if self.inverse:
            matrix = np.linalg.inv(matrix)
        height, width, channels = ops.shape(images)[1:]
        images = _along(images, height, width * channels, self.patch_size, matrix)
        images = _along(images, width, channels, self.patch_size, matrix)
        return ops.reshape(images, (-1, height, width, channels))


def _along(images, length, inner, patch_size, matrix):
    """The filter along an axis of that length, whose steps are `inner` values apart: (any, length, inner)."""
    lines = ops.reshape(images, (-1, length, inner))
    before, after = patch_size - patch_size // 2, patch_size // 2  # of the first border's pixels, and of the last one's
    borders = length // patch_size - 1
    known = isinstance(borders, int)
    if known and not borders:
        return lines
    batch = -1 if known else ops.shape(lines)[0]  # there may be no borders, of which -1 cannot be told
    middle = ops.reshape(lines[:, before : length - after], (batch, borders, patch_size, inner))
    middle = ops.reshape(ops.matmul(ops.cast(matrix, lines.dtype), middle), (batch, borders * patch_size, inner))
    return ops.concatenate([lines[:, :before], middle, lines[:, length - after :]], axis=1)


def _filter(patch_size: int) -> np.ndarray:
    """The filter (patch_size, patch_size) across a border; of an odd patch the last pixel, its middle one, stays."""
    half = patch_size // 2
    if not half:
        return np.eye(patch_size)
    k, n = np.mgrid[:half, :half]
    even = np.sqrt(2 / half) * np.cos(np.pi * k * (2 * n + 1) / (2 * half))  # DCT-II
    even[:1] /= np.sqrt(2)
    odd = np.sqrt(2 / half) * np.cos(np.pi * (2 * k + 1) * (2 * n + 1) / (4 * half))  # DCT-IV
    scale = np.diag([SCALE] + [1.0] * (half - 1))[:half, :half]
    identity, flip, zero = np.eye(half), np.eye(half)[::-1], np.zeros((half, half))
    butterfly = np.block([[identity, flip], [flip, -identity]]) / np.sqrt(2)
    mixed = butterfly @ np.block([[identity, zero], [zero, flip @ even.T @ scale @ odd @ flip]]) @ butterfly
    result = np.eye(patch_size)
    result[: 2 * half, : 2 * half] = mixed
    return result
