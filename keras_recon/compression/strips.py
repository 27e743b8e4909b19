"""Photos to latents and back in strips, which go through the networks in tiles: no float array is of a whole photo."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from keras import ops

from keras_recon.compression.codec import CHANNELS, PATCH_SIZE, ImageCodec

TILE = 512  # pixels
STRIP = 2 * TILE
# Pixels on each side on which the outputs of encoder and decoder depend, beside `OF_BLOCK` for each block per level.
REACH, OF_BLOCK = (7, 22), 28
HYPER_HALO = 64  # pixels on each side, two hyper-latents, beyond which these see nothing


def analysed(codec: ImageCodec, image: np.ndarray, knots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Latents and hyper-latents of each strip of a photo, that is continued to whole hyper-latents at its edges.

    Args:
        codec: trained.
        image: uint8 (height, width, 3 or 1).
        knots: of the quality, (1, num_knots).

    Yields:
        Latents (strip height / 8, width / 8, latent_dim), not rounded, and hyper-latents, a quarter as high and wide,
        as if there were no other strips. Both are float32.
    """
    height, width, channels = image.shape
    below, beside = (-side % codec.multiple for side in (height, width))
    halo = reach(codec, 0)

    def analyse(pixels):
        pixels = np.repeat(pixels, CHANNELS // channels, axis=2)
        return codec.analyse(pixels[None] / np.float32(255), knots)

    def hyper_analyse(latents):
        return codec.entropy_model.hyper_latents(latents[None])

    for top in range(0, height, STRIP):
        first, bottom = max(0, top - halo), min(top + STRIP, height + below)
        missing = max(0, min(bottom + halo, height + below) - height)
        pixels = np.pad(image[first : bottom + halo], [(0, missing), (0, beside), (0, 0)], "edge")
        rows, columns = (bottom - top) // PATCH_SIZE, pixels.shape[1] // PATCH_SIZE
        latents = np.empty((rows, columns, codec.latent_dim), "float32")
        in_tiles(analyse, pixels, latents, top - first, TILE, halo)
        of_hyper = codec.multiple // PATCH_SIZE
        hyper = np.empty((rows // of_hyper, columns // of_hyper, codec.hyper_dim), "float32")
        in_tiles(hyper_analyse, latents, hyper, 0, TILE // PATCH_SIZE, HYPER_HALO // PATCH_SIZE)
        yield latents, hyper


def synthesised(codec: ImageCodec, strips: Iterable[np.ndarray], image: np.ndarray, knots):
    """Fill a photo, uint8 (height, width, 3 or 1) with sides of whole latents, with what strips of latents mean."""
    halo, rows = reach(codec, 1) // PATCH_SIZE, len(image) // PATCH_SIZE
    latents, start, done = np.empty((0, image.shape[1] // PATCH_SIZE, codec.latent_dim), "float32"), 0, 0

    def synthesise(values):
        pixels = np.rint(255 * ops.convert_to_numpy(codec.synthesise(ops.convert_to_tensor(values[None]), knots)))
        return pixels if image.shape[2] == CHANNELS else np.rint(pixels.mean(axis=3, keepdims=True))

    for strip in strips:
        seen = max(0, done - halo - start)  # by no pixel that is left
        latents, start = np.concatenate([latents[seen:], strip]), start + seen
        end = start + len(latents)
        stop = end if end == rows else max(done, end - halo)
        part = image[PATCH_SIZE * done : PATCH_SIZE * stop]
        in_tiles(synthesise, latents, part, done - start, TILE // PATCH_SIZE, halo)
        done = stop


def reach(codec: ImageCodec, part: int) -> int:
    """Pixels around a tile that the encoder, which is part 0, or the decoder must see, in whole patches."""
    return -(-(REACH[part] + OF_BLOCK * codec.num_blocks[part]) // PATCH_SIZE) * PATCH_SIZE


def in_tiles(function: Callable, array: np.ndarray, result: np.ndarray, first: int, tile: int, halo: int):
    """Fill a result with `function` of rows of an array, from `first` on, tile by tile.

    Args:
        function: of a tile; what it gives has a batch axis, of one, and sides in a fixed ratio to the tile's.
        array, result: (rows, columns, values); as `function` does, so differ their columns.
        first: row of the array at which the result begins.
        tile: rows and columns of the array.
        halo: rows and columns around a tile that `function` gets beside it, where there are any.
    """
    columns = array.shape[1]
    ratio = result.shape[1] / columns  # a power of two
    rows = int(len(result) / ratio)
    for top in range(first, first + rows, tile):
        for left in range(0, columns, tile):
            bottom, right = min(top + tile, first + rows), min(left + tile, columns)
            y, x = max(0, top - halo), max(0, left - halo)
            output = ops.convert_to_numpy(function(array[y : bottom + halo, x : right + halo]))[0]
            inner = [slice(int(a * ratio), int(b * ratio)) for a, b in ((top - y, bottom - y), (left - x, right - x))]
            place = [slice(int(a * ratio), int(b * ratio)) for a, b in ((top - first, bottom - first), (left, right))]
            result[tuple(place)] = output[tuple(inner)]
