"""Images as patches with mean 0 and standard deviation 1, and back where the patches themselves are hidden."""

import numpy as np
from keras import ops

from keras_recon.ops.patches import patchify, unpatchify

VARIANCE_FLOOR = 1e-6  # of pixels in [0, 1]: a flat patch is normalised to zeros


def patch_statistics(images, patch_size: int):
    """Mean and standard deviation of each patch over all its values, (batch, rows, columns, 1) each."""
    patches = patchify(images, patch_size)
    variance = ops.var(patches, axis=-1, keepdims=True)
    return ops.mean(patches, axis=-1, keepdims=True), ops.sqrt(variance + VARIANCE_FLOOR)


def normalize_patches(images, patch_size: int):
    """Images (batch, height, width, channels) with each patch at mean 0 and standard deviation 1.

    The target of "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022).

    Example:

    >>> images = np.random.rand(2, 32, 48, 3).astype("float32")
    >>> patches = keras_recon.ops.patchify(keras_recon.ops.normalize_patches(images, patch_size=8), 8)
    >>> round(float(keras.ops.std(patches[0, 0, 0])), 3)
    1.0
    """
    mean, std = patch_statistics(images, patch_size)
    return unpatchify((patchify(images, patch_size) - mean) / std, patch_size)


def denormalize_patches(normalized, images, patch_mask, patch_size: int):
    """Images from normalised ones, with means and standard deviations of the visible patches of `images` only.

    Those of a hidden patch are averages of the visible patches', weighted by 1 / distance^4 ("A two-dimensional
    interpolation function for irregularly-spaced data", Shepard, 1968).

    Example:

    >>> images = np.full((1, 32, 32, 3), 0.25, "float32")
    >>> patch_mask = keras_recon.ops.fixed_patch_mask(rows=4, columns=4, num_visible=4)
    >>> outputs = keras_recon.ops.denormalize_patches(np.zeros_like(images), images, patch_mask, patch_size=8)
    >>> round(float(keras.ops.max(outputs)), 3)  # hidden patches get the mean of the visible ones
    0.25
    """
    rows, columns = patch_mask.shape[1:]
    weights = ops.where(ops.reshape(patch_mask, (-1, 1, rows * columns)), 0.0, _weights(rows, columns))
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)  # (batch, patches, patches)
    spread = []
    for statistic in patch_statistics(images, patch_size):
        statistic = ops.where(patch_mask[..., None], 0.0, statistic)
        statistic = ops.matmul(weights, ops.reshape(statistic, (-1, rows * columns, 1)))
        spread.append(ops.reshape(statistic, (-1, rows, columns, 1)))
    mean, std = spread
    return unpatchify(patchify(normalized, patch_size) * std + mean, patch_size)


def _weights(rows: int, columns: int) -> np.ndarray:
    """1 / distance^4 between any two patches of a grid, (patches, patches); a patch's own outweighs all others."""
    positions = np.stack(np.mgrid[:rows, :columns], axis=-1).reshape(-1, 2)
    squares = np.square(positions[:, None] - positions).sum(-1)
    return (1.0 / np.where(squares, squares, 1e-3) ** 2).astype("float32")
