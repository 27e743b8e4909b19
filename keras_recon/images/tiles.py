import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Overlapping tiles along the height or the width of an image.

    The first starts at pixel 0; the last may reach beyond the end, where the image is mirrored (the pixels at the edge
    come twice), as often as it takes.

    Args:
        length: of the image in pixels.
        tile: of a tile.
        overlap: pixels that neighbouring tiles share, from 0 to half a tile.
    """

    length: int
    tile: int
    overlap: int

    @property
    def stride(self) -> int:
        """Pixels from the start of a tile to that of the next."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Tiles that cover the image."""
        return max(1, math.ceil((self.length - self.overlap) / self.stride))

    @property
    def end(self) -> int:
        """Pixels from the start of the first tile to the end of the last."""
        return (self.count - 1) * self.stride + self.tile

    def scaled(self, factor: int) -> "Axis":
        """The axis of what a model makes of the tiles that enlarges them."""
        return Axis(factor * self.length, factor * self.tile, factor * self.overlap)

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """The image's pixels that lie at `start` ... `stop - 1`, mirrored beyond the image."""
        position = np.arange(start, stop) % (2 * self.length)
        return np.minimum(position, 2 * self.length - 1 - position)

    def weights(self) -> np.ndarray:
        """The share of each tile in its pixels, float32 (count, tile); the shares in a pixel add up to 1.

        They rise as sin^2 over the overlap and fall as cos^2; the ends of the image have one tile only.
        """
        rise = np.sin((np.arange(self.overlap) + 0.5) / max(1, self.overlap) * np.pi / 2) ** 2
        weights = np.ones((self.count, self.tile), "float32")
        weights[1:, : self.overlap] = rise
        weights[:-1, self.stride :] = 1 - weights[1:, : self.overlap]
        return weights


def cut(image: np.ndarray, rows: Axis, columns: Axis) -> Iterator[np.ndarray]:
    """The tiles of an image (height, width, channels), row by row, (tile height, tile width, channels)."""
    across = columns.pixels(0, columns.end)
    for top in range(0, rows.count * rows.stride, rows.stride):
        strip = image[rows.pixels(top, top + rows.tile)].take(across, axis=1)
        for left in range(0, columns.count * columns.stride, columns.stride):
            yield strip[:, left : left + columns.tile]


def blend(tiles: Iterable[np.ndarray], rows: Axis, columns: Axis) -> Iterator[np.ndarray]:
    """The image that float tiles in the order of `cut` make, in strips (strip height, width, channels) from the top."""
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
