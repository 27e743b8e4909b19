"""Cut images into overlapping tiles and blend tiles back to images."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Overlapping tiles along one axis of an image.

    The first tile starts at pixel 0. The last tile can extend beyond the image, which is then continued by symmetric
    reflection, repeatedly if needed.

    Args:
        length: length of the image in pixels.
        tile: length of a tile in pixels.
        overlap: pixels that neighbouring tiles share, from 0 to half a tile.
    """

    length: int
    tile: int
    overlap: int

    @property
    def stride(self) -> int:
        """Pixels from the start of a tile to the start of the next."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Number of tiles that cover the image."""
        return max(1, math.ceil((self.length - self.overlap) / self.stride))

    @property
    def end(self) -> int:
        """Pixels from the start of the first tile to the end of the last."""
        return (self.count - 1) * self.stride + self.tile

    def scaled(self, factor: int) -> "Axis":
        """Return the axis of the outputs of a model that upsamples tiles by `factor`."""
        return Axis(factor * self.length, factor * self.tile, factor * self.overlap)

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """Return the indices of the image's pixels at `start` to `stop - 1`, reflected beyond the image."""
        position = np.arange(start, stop) % (2 * self.length)
        return np.minimum(position, 2 * self.length - 1 - position)

    def weights(self) -> np.ndarray:
        """Return the blending weights of each tile, float32 (count, tile), which add up to 1 in each pixel.

        They rise as sin^2 over the overlap and fall as cos^2. At the ends of the image they are 1.
        """
        rise = np.sin((np.arange(self.overlap) + 0.5) / max(1, self.overlap) * np.pi / 2) ** 2
        weights = np.ones((self.count, self.tile), "float32")
        weights[1:, : self.overlap] = rise
        weights[:-1, self.stride :] = 1 - weights[1:, : self.overlap]
        return weights


def cut(image: np.ndarray, rows: Axis, columns: Axis) -> Iterator[np.ndarray]:
    """Yield the tiles (tile height, tile width, channels) of an image (height, width, channels), row by row."""
    across = columns.pixels(0, columns.end)
    for top in range(0, rows.count * rows.stride, rows.stride):
        strip = image[rows.pixels(top, top + rows.tile)].take(across, axis=1)
        for left in range(0, columns.count * columns.stride, columns.stride):
            yield strip[:, left : left + columns.tile]


def blend(tiles: Iterable[np.ndarray], rows: Axis, columns: Axis) -> Iterator[np.ndarray]:
    """Blend float tiles in the order of `cut`, and yield the image in strips (strip height, width, channels)."""
    down, across = rows.weights(), columns.weights()
    strip = None
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns.count)
        if strip is None:
            strip = np.zeros((rows.tile, columns.end, tile.shape[-1]), "float32")
        left = column * columns.stride
        strip[:, left : left + columns.tile] += tile * (down[row][:, None, None] * across[column][:, None])
        if column == columns.count - 1:
            done = rows.stride if row < rows.count - 1 else rows.length - row * rows.stride
            yield strip[:done, : columns.length].copy()
            strip[: rows.overlap] = strip[rows.stride :]
            strip[rows.overlap :] = 0
