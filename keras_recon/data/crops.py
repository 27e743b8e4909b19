from functools import lru_cache

import numpy as np

from keras_recon.data.photos import Photos
from keras_recon.degradations.reduction import resize_bicubic
from keras_recon.pixels import to_float


class RandomCrops:
    """Random crops, flipped left-right half of the time; `crops(epoch, index)` is a pure function of its arguments.

    Every photo is used once before any is used again; the order is a new permutation each time.

    Args:
        photos: where the crops come from. A photo smaller than the crop is enlarged (bicubic) to cover it.
        size: (height, width) of the crops.
        seed: any integer from 0.
    """

    def __init__(self, photos: Photos, size: tuple[int, int], seed: int):
        self.photos = photos
        self.size = tuple(size)
        self.seed = seed
        self._permutation = lru_cache(maxsize=4)(self._permutation)

    def _permutation(self, epoch, visit):
        return np.random.default_rng((self.seed, 0, epoch, visit)).permutation(len(self.photos))

    def photo(self, epoch: int, index: int) -> int:
        """The number of the photo that crop `index` of `epoch` is cut from."""
        visit, position = divmod(index, len(self.photos))
        return self._permutation(epoch, visit)[position]

    def __call__(self, epoch: int, index: int) -> np.ndarray:
        """Crop `index` of `epoch`, float32 (height, width, channels) in [0, 1]."""
        photo = cover(self.photos[self.photo(epoch, index)], self.size)
        rng = np.random.default_rng((self.seed, 1, epoch, index))
        top, left = (rng.integers(0, have - want + 1) for have, want in zip(photo.shape, self.size))
        crop = photo[top : top + self.size[0], left : left + self.size[1]]
        return to_float(crop[:, ::-1] if rng.integers(2) else crop)


def grid_crops(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> np.ndarray:
    """Crops on a fixed grid from the top left corner of every photo, float32 (crops, height, width, channels).

    Args:
        photos: where the crops come from. A photo smaller than the crop is enlarged (bicubic) to cover it.
        size: (height, width) of the crops.
        stride: pixels between the corners of neighbouring crops.
        limit: at most so many crops, spread evenly over the photos and over each photo's grid; None for all.
    """
    chosen = range(len(photos)) if limit is None else _spread(len(photos), limit)
    per_photo = None if limit is None else limit // len(chosen)
    crops = []
    for i in chosen:
        photo = cover(photos[i], size)
        rows, columns = (range(0, have - want + 1, stride) for have, want in zip(photo.shape, size))
        corners = [(top, left) for top in rows for left in columns]
        for corner in _spread(len(corners), per_photo or len(corners)):
            top, left = corners[corner]
            crops.append(to_float(photo[top : top + size[0], left : left + size[1]]))
    return np.stack(crops)


def _spread(count: int, limit: int) -> list[int]:
    return np.linspace(0, count, min(count, limit), endpoint=False).astype(int).tolist()


def cover(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The photo, enlarged (bicubic, aspect ratio kept) if it does not cover `size` (height, width)."""
    scale = max(want / have for want, have in zip(size, photo.shape))
    if scale <= 1:
        return photo
    enlarged = [max(want, round(have * scale)) for want, have in zip(size, photo.shape)]
    return np.clip(resize_bicubic(to_float(photo), enlarged), 0.0, 1.0)
