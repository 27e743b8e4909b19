"""Hiding patches from an encoder. A patch mask is boolean (batch, rows, columns), True where a patch is hidden."""

import keras
import numpy as np
from keras import ops


def fixed_patch_mask(rows: int, columns: int, num_visible: int) -> np.ndarray:
    """A patch mask (1, rows, columns) with `num_visible` visible patches, always the same.

    Example:

    >>> patch_mask = keras_recon.ops.fixed_patch_mask(rows=4, columns=6, num_visible=6)
    >>> patch_mask.shape, int(patch_mask.sum())
    ((1, 4, 6), 18)
    """
    order = np.random.default_rng(0).permutation(rows * columns)
    return (order >= num_visible).reshape(1, rows, columns)


def random_patch_mask(batch, rows: int, columns: int, num_visible: int, seed: keras.random.SeedGenerator):
    """Patch masks (batch, rows, columns), drawn for each image, with `num_visible` visible patches each.

    Example:

    >>> seed = keras.random.SeedGenerator(0)
    >>> patch_mask = keras_recon.ops.random_patch_mask(2, rows=4, columns=6, num_visible=6, seed=seed)
    >>> patch_mask.shape, keras_recon.ops.count_visible(patch_mask)
    ((2, 4, 6), 6)
    """
    noise = keras.random.uniform((batch, rows * columns), dtype="float32", seed=seed)
    order = ops.argsort(ops.argsort(noise, axis=1), axis=1)  # a permutation, also where two draws are equal
    return ops.reshape(order >= num_visible, (-1, rows, columns))


def count_visible(patch_mask) -> int | None:
    """Visible patches of each image; None where a tensor is symbolic. Unequal or no counts are refused.

    Example:

    >>> keras_recon.ops.count_visible(np.array([[[True, False], [True, False]]]))
    2
    """
    try:
        hidden = ops.convert_to_numpy(patch_mask)
    except (NotImplementedError, TypeError, ValueError):  # those of TensorFlow, JAX and Keras for a symbolic tensor
        return None
    counts = set(np.sum(~hidden, axis=(1, 2)).tolist())
    if len(counts) != 1 or not min(counts):
        raise ValueError(
            "`patch_mask` must leave the same number of patches visible in every image, at least 1. "
            f"Received: patch_mask with {sorted(counts)} visible patches"
        )
    return counts.pop()


def visible_indices(patch_mask, num_visible: int):
    """Indices (batch, num_visible) of the visible patches, ascending, counted along rows.

    Example:

    >>> patch_mask = np.array([[[True, False], [True, False]]])
    >>> keras.ops.convert_to_numpy(keras_recon.ops.visible_indices(patch_mask, num_visible=2)).tolist()
    [[1, 3]]
    """
    patches = patch_mask.shape[1] * patch_mask.shape[2]
    hidden = ops.cast(ops.reshape(patch_mask, (-1, patches)), "int32")
    return ops.argsort(hidden * patches + ops.arange(patches, dtype="int32"), axis=1)[:, :num_visible]


def take_tokens(tokens, indices):
    """The tokens `indices` (batch, m) of each image of (batch, tokens, values): (batch, m, values).

    Example:

    >>> tokens = keras.ops.reshape(keras.ops.arange(6), (1, 3, 2))
    >>> keras.ops.convert_to_numpy(keras_recon.ops.take_tokens(tokens, np.array([[2, 0]]))).tolist()
    [[[4, 5], [0, 1]]]
    """
    count, values = tokens.shape[1:]
    # Whole rows of a table: `take_along_axis` gathers, and scatters gradients, value by value.
    first = ops.arange(ops.shape(tokens)[0], dtype="int32")[:, None] * count
    return ops.take(ops.reshape(tokens, (-1, values)), first + ops.cast(indices, "int32"), axis=0)


def paste_visible(outputs, images, patch_mask):
    """`images` where they are visible, `outputs` where they are hidden; both (batch, height, width, channels).

    Example:

    >>> outputs, images = keras.ops.zeros((1, 4, 4, 1)), keras.ops.ones((1, 4, 4, 1))
    >>> patch_mask = np.array([[[True, False], [True, False]]])  # the left half is hidden
    >>> pasted = keras_recon.ops.paste_visible(outputs, images, patch_mask)
    >>> keras.ops.convert_to_numpy(pasted)[0, 0, :, 0].tolist()  # the first row
    [0.0, 0.0, 1.0, 1.0]
    """
    side = images.shape[1] // patch_mask.shape[1]
    # Not `ops.repeat`: under PyTorch its symbolic call fails, and a masked model would be built by computing images.
    hidden = ops.logical_and(patch_mask[:, :, None, :, None], np.ones((side, 1, side), "bool"))
    return ops.where(ops.reshape(hidden, (-1, *images.shape[1:3], 1)), outputs, images)
