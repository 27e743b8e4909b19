import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise

import numpy as np

from keras_recon.data.photos import Photos, resized
from keras_recon.images.files import BadImage
from keras_recon.images.pixels import to_float
from keras_recon.images.resize import resize_bicubic

MAX_ENLARGEMENT = 8
MAX_LENGTH = 16  # of an enlarged photo, in crops: one of 8 rows and a million columns would take gigabytes


def grid_crops(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> np.ndarray:
    """The crops of `photo_grids` in one array, float32 (crops, height, width, channels).

    Example:

    >>> photos, _ = keras_recon.data.load_photos([np.zeros((1, 128, 192, 3), "uint8")] * 2)
    >>> keras_recon.data.grid_crops(photos, (64, 64), stride=64).shape
    (6, 64, 64, 3)
    """
    return np.concatenate(list(photo_grids(photos, size, stride, limit)))


def photo_grids(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> Iterator[np.ndarray]:
    """Crops on a fixed grid from the top left corner of every photo, float32 (crops, height, width, channels) of each.

    A bad photo has none; under a limit the next photo that would be left out takes its place.

    Args:
        photos: where the crops come from. A photo smaller than the crop is enlarged to cover it, see `cover`.
        size: (height, width) of the crops.
        stride: pixels between the corners of neighbouring crops.
        limit: at most so many crops, spread evenly over the photos and over each photo's grid; None for all.

    Example:

    >>> images = [np.zeros((128, 192, 3), "uint8"), np.zeros((64, 64, 3), "uint8")]
    >>> photos, _ = keras_recon.data.load_photos((images, images))
    >>> [len(crops) for crops in keras_recon.data.photo_grids(photos, (64, 64), stride=64)]
    [6, 1]
    """
    return (parts[-1] for parts in part_grids(photos, size, stride, limit))


def part_grids(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> Iterator[tuple]:
    """The same, of pairs the degraded crops and the clean ones."""
    if not len(photos):
        raise ValueError("`photos` must have a photo to cut crops from. Received: 0 photos")
    chosen = range(len(photos)) if limit is None else _spread(len(photos), limit)
    per_photo = None if limit is None else limit // len(chosen)
    for start, end in pairwise([*chosen, len(photos)]):
        photo = photos.first_good(range(start, end), covering(photos, size))
        if photo is None:
            continue
        rows, columns = (range(0, have - want + 1, stride) for have, want in zip(photo.shape, size))
        corners = [(top, left) for top in rows for left in columns]
        corners = [corners[i] for i in _spread(len(corners), per_photo or len(corners))]
        crops = np.stack([photo[top : top + size[0], left : left + size[1]] for top, left in corners])
        yield tuple(map(to_float, photos.parts(crops)))


def middle_parts(photos: Photos, longest: int) -> tuple[np.ndarray, ...]:
    """What `middle_photo` gives; of pairs the middle of both, at most `longest` pixels long, as scaling mends photos.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> [part.shape for part in keras_recon.data.middle_parts(validation, longest=300)]
    [(200, 300, 3)]
    """
    if len(photos.factors) == 1:
        return (middle_photo(photos, longest),)

    def cut(photo):
        corners = [max(0, side - longest // photos.factors[1]) // 2 for side in photo.shape[:2]]
        middle = photo[tuple(slice(corner, side - corner) for corner, side in zip(corners, photo.shape))]
        return tuple(map(to_float, photos.parts(middle)))

    middle = len(photos) // 2
    return photos.first_good(chain(range(middle, len(photos)), range(middle)), cut)


def middle_photo(photos: Photos, longest: int) -> np.ndarray:
    """The photo in the middle of all, or the next one that can be used, float32 (height, width, channels) in [0, 1].

    Its longer side is scaled down to at most `longest` pixels.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.middle_photo(validation, longest=300).shape
    (200, 300, 3)
    """

    def scaled(photo):
        scale = longest / max(photo.shape[:2])
        if scale >= 1:
            return to_float(photo)
        size = [max(1, round(side * scale)) for side in photo.shape[:2]]
        return np.clip(to_float(resize_bicubic(photo, size)), 0.0, 1.0)

    middle = len(photos) // 2
    return photos.first_good(chain(range(middle, len(photos)), range(middle)), scaled)


def _spread(count: int, limit: int) -> list[int]:
    return np.linspace(0, count, min(count, limit), endpoint=False).astype(int).tolist()


def covering(photos: Photos, size: tuple[int, int]) -> Callable:
    """`cover` for `photos`."""
    return partial(cover, size=size, resize=photos.resize)


def cover(photo: np.ndarray, size: tuple[int, int], resize: Callable = resized) -> np.ndarray:
    """The photo, enlarged (bicubic, aspect ratio kept) if it does not cover `size` (height, width).

    The middle of one that would then be longer than 16 crops is kept. A `BadImage` tells of one that needs more than an
    8-fold enlargement.
    """
    scale = max(want / have for want, have in zip(size, photo.shape))
    if scale <= 1:
        return photo
    if scale > MAX_ENLARGEMENT:
        raise BadImage(
            f"{photo.shape[0]}x{photo.shape[1]} pixels are too few for crops of {size[0]}x{size[1]}, "
            f"which may enlarge a photo {MAX_ENLARGEMENT} times (height x width)"
        )
    kept = [min(have, math.ceil(MAX_LENGTH * want / scale)) for want, have in zip(size, photo.shape)]
    top, left = ((have - keep) // 2 for have, keep in zip(photo.shape, kept))
    photo = photo[top : top + kept[0], left : left + kept[1]]
    enlarged = [max(want, round(have * scale)) for want, have in zip(size, photo.shape)]
    return resize(photo, enlarged)
