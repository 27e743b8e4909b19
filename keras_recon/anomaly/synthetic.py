"""Synthetic defects in good photos, to train a classifier without real ones."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from keras_recon.features import photo_tiles
from keras_recon.images.pixels import from_float, to_float

TRIES = 100  # draws until a defect lies in the photo and has a valid size
MAX_SHARE = 0.4  # largest share of a photo that a defect may cover


def synthetic_defect(photo: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a defect into a copy of a good photo.

    The defect is one of four kinds, with equal probability: dark spots, a dark line, a rectangle copied from elsewhere
    in the photo ("CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", Li et al., 2021), or a
    rough patch with the texture of another photo ("DRAEM", Zavrtanik et al., 2021). Sizes are log-uniform.

    Args:
        photo: (height, width, channels), float in [0, 1].
        other: another good photo, of any size, for its texture.
        rng: random generator.

    Returns:
        The photo, float32 in [0, 1], and the mask of the defect, boolean (height, width), with at least one pixel.

    Raises:
        ValueError: if the photo is too small for a defect.

    Example:
    >>> photo, other = np.random.rand(2, 64, 48, 3)
    >>> damaged, mask = keras_recon.anomaly.synthetic_defect(photo, other, np.random.default_rng(0))
    >>> damaged.shape, mask.shape
    ((64, 48, 3), (64, 48))
    """
    photo = photo.astype("float32")
    for _ in range(TRIES):
        damaged, mask = KINDS[rng.integers(len(KINDS))](photo, other, rng)
        if mask.any() and mask.mean() <= MAX_SHARE:
            return damaged.astype("float32").clip(0, 1), mask
    raise ValueError(f"`photo` must be large enough for a defect, 8x8 pixels. Received: photo of shape {photo.shape}")


def damaged_photos(
    photos: Sequence[np.ndarray], tile: int, patch: int, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw a defect into each photo and compute the covered share of each patch of its tiles.

    Args:
        photos: (height, width, channels), uint8, uint16 or float in [0, 1].
        tile: side of the tiles in pixels, see `keras_recon.features.photo_tiles`.
        patch: side of the patches in pixels.
        seed: seed of the defects.

    Returns:
        The photos, of the same dtype, and the shares (tiles, tile // patch, tile // patch), 0 to 1.
    """
    damaged, shares = [], []
    for i, photo in enumerate(photos):
        rng = np.random.default_rng((seed, i))
        other = to_float(photos[rng.integers(len(photos))])
        pixels, mask = synthetic_defect(to_float(photo), other, rng)
        damaged.append(from_float(pixels, photo.dtype))
        tiles = photo_tiles(mask[..., None].astype("float32"), tile)
        shares.append(tiles.reshape(len(tiles), tile // patch, patch, tile // patch, patch).mean(axis=(2, 4)))
    return damaged, np.concatenate(shares).clip(0, 1)


def dark_spots(photo, other, rng):
    """Darken one to three spots."""
    mask = np.zeros(photo.shape[:2], bool)
    for _ in range(rng.integers(1, 4)):
        mask |= _blob(mask.shape, _log_uniform(rng, 2, 20), rng)
    return photo * (1 - rng.uniform(0.4, 0.8) * _soft(mask, 1.0)), mask


def dark_line(photo, other, rng):
    """Darken a random walk of 1 to 5 pixels width."""
    steps = int(_log_uniform(rng, 25, 220))
    angles = rng.normal(np.pi / 2, 0.5) + np.cumsum(rng.normal(0, 0.15, steps))
    start = rng.uniform(0.1, 0.9, 2) * photo.shape[:2]
    path = (start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)).astype(int)
    inside = ((path >= 0) & (path < photo.shape[:2])).all(axis=1)
    mask = np.zeros(photo.shape[:2], bool)
    mask[tuple(path[inside].T)] = True
    if width := rng.integers(3):
        mask = scipy.ndimage.binary_dilation(mask, iterations=int(width))
    darkened = photo * (1 - rng.uniform(0.25, 0.6) * np.minimum(1.6 * _soft(mask, 0.8), 1))
    return darkened, scipy.ndimage.binary_dilation(mask)


def pasted_piece(photo, other, rng):
    """Paste a rectangle of the photo elsewhere, brighter or darker, and rotated half of the time."""
    shape = np.array(photo.shape[:2])
    largest = max(1, shape.min() // 2)  # the rotated piece fits too
    height, width = (min(int(_log_uniform(rng, 8, 100)), largest) for _ in range(2))
    top, left = rng.integers(0, shape - (height, width) + 1)
    piece = photo[top : top + height, left : left + width] * rng.uniform(0.7, 1.3)
    if rng.random() < 0.5:
        piece = piece.swapaxes(0, 1)
    top, left = rng.integers(0, shape - piece.shape[:2] + 1)
    where = np.s_[top : top + piece.shape[0], left : left + piece.shape[1]]
    damaged, mask = photo.copy(), np.zeros(photo.shape[:2], bool)
    damaged[where], mask[where] = piece, True
    return damaged, mask


def rough_patch(photo, other, rng):
    """Blend a patch with the texture of the other photo and with noise."""
    height, width = photo.shape[:2]
    mask = _blob((height, width), rng.uniform(12, 50), rng)
    turned = other.swapaxes(0, 1)
    # The texture is repeated if it is smaller than the photo.
    texture = np.take(np.take(turned, np.arange(height), axis=0, mode="wrap"), np.arange(width), axis=1, mode="wrap")
    grain = _noise((height, width), rng.uniform(1.5, 4), rng)[..., None] * rng.uniform(0.03, 0.12)
    soft = _soft(mask, 1.5)
    return photo * (1 - soft) + soft * (0.4 * photo + 0.6 * texture + grain), mask


KINDS = (dark_spots, dark_line, pasted_piece, rough_patch)


def _log_uniform(rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _noise(shape, sigma: float, rng) -> np.ndarray:
    """Return smooth noise (height, width) of mean 0 and variance 1."""
    noise = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def _blob(shape, radius: float, rng) -> np.ndarray:
    """Return the mask (height, width) of an ellipse with an uneven edge at a random place."""
    centre, angle = rng.uniform(0.05, 0.95, 2) * shape, rng.uniform(0, np.pi)
    y, x = (axis - middle for axis, middle in zip(np.mgrid[: shape[0], : shape[1]], centre))
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    distance = np.hypot(along / radius, across / (radius * rng.uniform(0.5, 1)))
    return distance + 0.25 * _noise(shape, max(2.0, radius / 2), rng) < 1


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Return the mask with a blurred edge, float32 (height, width, 1)."""
    return scipy.ndimage.gaussian_filter(mask.astype("float32"), sigma)[..., None]
