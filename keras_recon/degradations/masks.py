"""Masks that hide pixels, for inpainting."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from keras_recon.degradations.base import Degradation, is_number, require

HIDDEN = np.float32(0.5)  # the value of hidden pixels, in all channels


class Mask(Degradation):
    """The base class of masks. Hidden pixels are 0.5 in all channels.

    Example:
    >>> mask = keras_recon.degradations.PatchMask(ratio=0.5, patch_size=8)
    >>> hidden = mask.mask((32, 48), np.random.default_rng(0))
    >>> hidden.shape, float(hidden.mean())
    ((32, 48), 0.5)
    """

    def mask(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return boolean (height, width), True where an image of `shape` (height, width, ...) is hidden.

        A call with a generator in the same state hides the same pixels.
        """
        raise NotImplementedError

    def apply(self, image, rng):
        return np.where(self.mask(image.shape, rng)[..., None], HIDDEN, image)


@dataclass(frozen=True)
class _MaskOfPatches(Mask):
    """A mask of whole patches, which are the cells of a grid that a subclass draws."""

    ratio: float
    patch_size: int = 8

    def __post_init__(self):
        require(is_number(self.ratio, 0, 1), "ratio", "a number from 0 to 1", self.ratio)
        require(is_number(self.patch_size, 1, kind=int), "patch_size", "a whole number from 1", self.patch_size)

    def mask(self, shape, rng):
        height, width = shape[:2]
        grid = self._grid(-(-height // self.patch_size), -(-width // self.patch_size), rng)
        return grid.repeat(self.patch_size, axis=0).repeat(self.patch_size, axis=1)[:height, :width]

    def _grid(self, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
        """Return boolean (rows, columns), True where a patch is hidden."""
        raise NotImplementedError


@dataclass(frozen=True)
class PatchMask(_MaskOfPatches):
    """Random patches, as in "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022).

    Args:
        ratio: share of hidden patches, exact except for rounding.
        patch_size: side in pixels. Patches at the right and lower border can be smaller.

    Example:
    >>> image = np.ones((32, 48, 3), "float32")
    >>> masked = keras_recon.degradations.PatchMask(ratio=0.75, patch_size=8)(image, np.random.default_rng(0))
    >>> float((masked == 0.5).mean())
    0.75
    """

    name: ClassVar = "mask"

    def _grid(self, rows, columns, rng):
        hidden = np.arange(rows * columns) < round(self.ratio * rows * columns)
        return rng.permutation(hidden).reshape(rows, columns)


@dataclass(frozen=True)
class BlockMask(_MaskOfPatches):
    """One rectangle of patches at a random place. Its aspect ratio is between 1:2 and 2:1.

    Args:
        ratio: hidden share of the image, rounded to a rectangle of patches.
        patch_size: side in pixels. Patches at the right and lower border can be smaller.

    Example:
    >>> image = np.ones((32, 32, 3), "float32")
    >>> masked = keras_recon.degradations.BlockMask(ratio=0.25, patch_size=4)(image, np.random.default_rng(0))
    >>> round(float((masked == 0.5).mean()), 1)
    0.2
    """

    name: ClassVar = "block"

    def _grid(self, rows, columns, rng):
        area = self.ratio * rows * columns
        height = round(math.sqrt(area) * 2 ** rng.uniform(-0.5, 0.5))
        height = min(max(height, math.ceil(area / columns), 1), rows)
        width = round(area / height)
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        grid = np.zeros((rows, columns), bool)
        grid[top : top + height, left : left + width] = True
        return grid


@dataclass(frozen=True, eq=False)
class GridMask(Mask):
    """The cells of a given grid, which is stretched over the image. It has no text form.

    Args:
        grid: boolean (rows, columns), True for hidden cells.

    Example:
    >>> mask = keras_recon.degradations.GridMask(np.array([[True, False]]))  # the left half
    >>> masked = mask(np.ones((2, 4, 1), "float32"), np.random.default_rng(0))
    >>> masked[..., 0].tolist()
    [[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]]
    """

    name: ClassVar = "grid"
    grid: np.ndarray

    def __post_init__(self):
        grid = np.asarray(self.grid)
        require(grid.dtype == bool and grid.ndim == 2 and grid.size, "grid", "boolean (rows, columns)", self.grid)
        object.__setattr__(self, "grid", grid)

    def mask(self, shape, rng):
        rows, columns = (np.arange(side) * cells // side for side, cells in zip(shape, self.grid.shape))
        return self.grid[rows[:, None], columns]

    def __str__(self):
        return f"{self.name} of {self.grid.shape[0]}x{self.grid.shape[1]}"


@dataclass(frozen=True)
class FreeFormMask(Mask):
    """Brush strokes, as in "Free-Form Image Inpainting with Gated Convolution" (Yu et al., 2019).

    Vertices, lengths, angles and brush widths (12 to 40 pixels at 256x256) are those of the paper's code, in proportion
    to the image. Each stroke has its own direction.

    Args:
        ratio: hidden share of the pixels, from 0 to 0.9. Strokes are drawn until it is reached.

    Example:
    >>> image = np.ones((64, 64, 3), "float32")
    >>> masked = keras_recon.degradations.FreeFormMask(ratio=0.2)(image, np.random.default_rng(0))
    >>> bool((masked == 0.5).mean() >= 0.2)
    True
    """

    name: ClassVar = "strokes"
    ratio: float

    def __post_init__(self):
        # The time to cover the last pixels by chance grows without limit.
        require(is_number(self.ratio, 0, 0.9), "ratio", "a number from 0 to 0.9", self.ratio)

    def mask(self, shape, rng):
        height, width = shape[:2]
        picture = Image.new("L", (width, height))
        draw = ImageDraw.Draw(picture)
        segments = _segments(height, width, rng)
        while np.asarray(picture).mean() < self.ratio:
            start, end, brush = next(segments)
            draw.line([*start, *end], fill=1, width=round(brush))
            for x, y in (start, end):  # round ends join the segments
                draw.ellipse([x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2], fill=1)
        return np.asarray(picture, bool)


def _segments(height, width, rng):
    """Yield segments of strokes without end: start (x, y), end (x, y) and brush width, in pixels."""
    corner = np.array([width - 1, height - 1])
    step = math.hypot(height, width) / 8
    while True:
        brush = max(1.0, rng.uniform(12, 40) / 256 * math.sqrt(height * width))
        least, most = 2 * np.pi / 5 + 2 * np.pi / 15 * rng.uniform((-1, 0), (0, 1))
        direction, end = rng.uniform(0, 2 * np.pi), rng.uniform(0, corner)
        for turn in range(rng.integers(4, 13)):
            angle = direction + (-1) ** turn * rng.uniform(least, most)
            length = np.clip(rng.normal(step, step / 2), 0, 2 * step)
            start, end = end, np.clip(end + length * np.array([np.cos(angle), np.sin(angle)]), 0, corner)
            yield start, end, brush
