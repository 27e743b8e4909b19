import math
from collections.abc import Callable, Iterable

import numpy as np

from keras_recon.data.crops import RandomCrops, part_grids
from keras_recon.data.photos import Photos
from keras_recon.degradations import Degradation, degrade

VALIDATION_BYTES = 2**27  # of crops in memory


class RandomPairs:
    """(degraded, clean) pairs of random crops; `pairs(epoch, index)` is a pure function of its arguments.

    Args:
        photos: where the crops come from, or pairs.
        image_shape: (height, width, channels) of the crops, of pairs of the degraded ones.
        seed: any integer from 0.
        degradation: makes the degraded image of the clean one; without it, both are the clean one.
        quarter_turns: see `RandomCrops`.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> noise = keras_recon.degradations.GaussianNoise(25)
    >>> pairs = keras_recon.data.RandomPairs(training, (64, 64, 3), seed=0, degradation=noise)
    >>> noisy, clean = pairs(epoch=0, index=7)
    >>> noisy.shape, round(255 * float((noisy - clean).std()))
    ((64, 64, 3), 25)
    """

    def __init__(
        self,
        photos: Photos,
        image_shape: tuple[int, int, int],
        seed: int,
        degradation: Degradation | None = None,
        quarter_turns: bool = False,
    ):
        check_degradation(photos, degradation)
        height, width, channels = image_shape
        self.shapes = [(factor * height, factor * width, channels) for factor in photos.factors]
        if degradation is not None:
            self.shapes *= 2
        self.seed = seed
        self.degradation = degradation
        self.crops = RandomCrops(photos, image_shape[:2], seed, quarter_turns)

    def __call__(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pair `index` of `epoch`, float32 (height, width, channels) each."""
        degraded, clean = self.batch(epoch, index, 1)
        return degraded[0], clean[0]

    def batch(
        self, epoch: int, start: int, count: int, decode: Callable | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`count` pairs from `start` on, float32 (pairs, height, width, channels) each.

        Args:
            epoch, start, count, decode: see `RandomCrops.batch`.
        """
        *degraded, clean = self.crops.batch(epoch, start, count, decode)
        return degraded[0] if degraded else degrade(clean, self.degradation, (self.seed, 2, epoch), start), clean


def grid_pairs(
    photos: Photos, image_shape: tuple[int, int, int], limit: int = 512, degradation: Degradation | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(degraded, clean) crops, float32 (crops, *image_shape): at most `limit`, side by side, from all photos.

    They are degraded in the same way at every call.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> degraded, clean = keras_recon.data.grid_pairs(validation, (64, 64, 3))
    >>> clean.shape
    (178, 64, 64, 3)
    """
    check_degradation(photos, degradation)
    room = VALIDATION_BYTES // (4 * math.prod(image_shape) * photos.factors[-1] ** 2)
    grids = part_grids(photos, image_shape[:2], max(image_shape[:2]), max(1, min(limit, room)))
    *degraded, clean = (np.concatenate(crops) for crops in zip(*grids))
    return degraded[0] if degraded else degrade(clean, degradation), clean


def check_degradation(photos: Photos, degradation: Degradation | None):
    """Refuse one of pairs, which are degraded already."""
    if degradation is not None and len(photos.factors) > 1:
        raise ValueError(f"`degradation` must be None for pairs of photos. Received: degradation={str(degradation)!r}")


def spread(batches: Iterable, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(degraded, clean) arrays of `count` pairs of a finite data set of batches.

    Of each of `count` equal parts of the data set it is the pair with the most contrast, and no plain sky.

    Example:

    >>> training, validation = keras_recon.data.load("sample", (64, 64, 3))
    >>> degraded, clean = keras_recon.data.spread(validation, count=6)
    >>> clean.shape
    (6, 64, 64, 3)
    """
    pairs = [pair for batch in batches for pair in zip(*map(np.asarray, batch))]
    contrasts = np.array([clean.std(axis=(0, 1), dtype="float64").mean() for _, clean in pairs])
    parts = np.array_split(np.arange(len(pairs)), min(count, len(pairs)))
    chosen = [part[contrasts[part].argmax()] for part in parts]
    return tuple(np.stack(images) for images in zip(*(pairs[i] for i in chosen)))
