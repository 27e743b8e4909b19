"""Crops of photos that stay on the device, as tiles: what `gpu_training.py` and `pretraining.py` train on."""

from collections.abc import Callable, Iterator

import numpy as np


def tiles_of(photo: np.ndarray, tile: int, scales: tuple[float, ...] = (1.0,)) -> list[np.ndarray]:
    """Tiles (tile, tile, 3) at every half of a tile that cover a photo at each scale at which it is as large.

    There are about as many at each scale; each crop of up to half a tile is as likely as another.
    """
    from keras_recon.images.pixels import resize_bicubic

    tiles = []
    for scale in scales:
        size = tuple(round(scale * side) for side in photo.shape[:2])
        if min(size) < tile:
            break
        scaled = photo if scale == 1 else resize_bicubic(photo, size)
        step = round(scale * tile / 2)
        rows, columns = (sorted({*range(0, side - tile, step), side - tile}) for side in size)
        tiles += [scaled[y : y + tile, x : x + tile] for y in rows for x in columns]
    return tiles


def pair_batches(tiles, side: int, batch_size: int, pairs_of: Callable, seed: int) -> Iterator[tuple]:
    """Endless batches of what `pairs_of(key, crops)` makes of square crops of tiles, flipped and turned.

    Args:
        tiles: (count, height, width, channels), uint8, on the device.
        side: of the crops.
    """
    import jax
    import jax.numpy as jnp

    def crop(tile, key):
        keys = jax.random.split(key, 3)
        y, x = jax.random.randint(keys[0], (2,), 0, tile.shape[0] - side + 1)
        image = jax.lax.dynamic_slice(tile, (y, x, 0), (side, side, 3))
        flips = jax.random.bernoulli(keys[1], 0.5, (3,))
        image = jnp.where(flips[0], image[::-1], image)
        image = jnp.where(flips[1], image[:, ::-1], image)
        image = jnp.where(flips[2], image.swapaxes(0, 1), image)
        return image.astype("float32") / 255

    @jax.jit
    def batch_of(tiles, key):
        keys = jax.random.split(key, 3)
        index = jax.random.randint(keys[0], (batch_size,), 0, len(tiles))
        crops = jax.vmap(crop)(tiles[index], jax.random.split(keys[1], batch_size))
        return pairs_of(keys[2], crops)

    key = jax.random.key(seed)
    while True:
        key, now = jax.random.split(key)
        yield batch_of(tiles, now)
