"""Hiding patches from an encoder. A patch mask is boolean (batch, rows, columns), True where a patch is hidden."""

import keras
import numpy as np
from keras import ops


def fixed_patch_mask(rows: int, columns: int, num_visible: int) -> np.ndarray:
    """A patch mask (1, rows, columns) with `num_visible` visible patches, always the same."""
    order = np.random.default_rng(0).permutation(rows * columns)
    return (order >= num_visible).reshape(1, rows, columns)


def random_patch_mask(batch, rows: int, columns: int, num_visible: int, seed: keras.random.SeedGenerator):
    """Patch masks (batch, rows, columns), drawn for each image, with `num_visible` visible patches each."""
    noise = keras.random.uniform((batch, rows * columns), dtype="float32", seed=seed)
    order = ops.argsort(ops.argsort(noise, axis=1), axis=1)  # a permutation, also where two draws are equal
    return ops.reshape(order >= num_visible, (-1, rows, columns))


def count_visible(patch_mask) -> int | None:
    """Visible patches of each image; None where a tensor is symbolic. Unequal or no counts are refused."""
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
    """Indices (batch, num_visible) of the visible patches, ascending, counted along rows."""
    patches = patch_mask.shape[1] * patch_mask.shape[2]
    hidden = ops.cast(ops.reshape(patch_mask, (-1, patches)), "int32")
    return ops.argsort(hidden * patches + ops.arange(patches, dtype="int32"), axis=1)[:, :num_visible]


def take_tokens(tokens, indices):
    """The tokens `indices` (batch, m) of each image of (batch, tokens, values): (batch, m, values)."""
    count, values = tokens.shape[1:]
    # Whole rows of a table: `take_along_axis` gathers, and scatters gradients, value by value.
    first = ops.arange(ops.shape(tokens)[0], dtype="int32")[:, None] * count
    return ops.take(ops.reshape(tokens, (-1, values)), first + ops.cast(indices, "int32"), axis=0)


def paste_visible(outputs, images, patch_mask):
    """`images` where they are visible, `outputs` where they are hidden; both (batch, height, width, channels)."""
    side = images.shape[1] // patch_mask.shape[1]
    hidden = ops.repeat(ops.repeat(patch_mask, side, axis=1), side, axis=2)
    return ops.where(hidden[..., None], outputs, images)
