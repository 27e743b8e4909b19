import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import chain, pairwise

import numpy as np

from keras_recon.data.photos import Photos, resized
from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import mirror, resize_bicubic, to_float

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


DRAWS = 2  # version of what is drawn from a seed: a run that others began does not go on. 1 was PCG64, crop by crop


class RandomCrops:
    """Random crops, flipped left-right half of the time; `crops(epoch, index)` is a pure function of its arguments.

    Every photo is used once before any is used again; the order is a new permutation each time. In the place of a bad
    photo comes the one behind it in that order, whichever thread met it first and when. Everything else is drawn by
    Philox, whose numbers come by their place: see `DRAWS`.

    Args:
        photos: where the crops come from. A photo smaller than the crop is enlarged to cover it, see `cover`.
        size: (height, width) of the crops.
        seed: any integer from 0.
        quarter_turns: whether the crops, which must be square, are also turned by 0, 90, 180 or 270 degrees.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> crops = keras_recon.data.RandomCrops(training, (64, 64), seed=0)
    >>> crops(epoch=0, index=7).shape
    (64, 64, 3)
    >>> bool((crops(0, 7) == crops(0, 7)).all())
    True
    """

    def __init__(self, photos: Photos, size: tuple[int, int], seed: int, quarter_turns: bool = False):
        self.photos = photos
        self.size = tuple(size)
        self.seed = seed
        self.quarter_turns = quarter_turns
        if quarter_turns and self.size[0] != self.size[1]:
            raise ValueError(f"`quarter_turns` needs square crops. Received: size={self.size}")
        self._permutation = lru_cache(maxsize=4)(self._permutation)

    def _permutation(self, epoch, visit):
        return np.random.default_rng((self.seed, 0, epoch, visit)).permutation(len(self.photos))

    def _photos(self, epoch, indices):
        """The photos of crops, of which some may be bad."""
        visits, positions = np.divmod(indices, len(self.photos))
        photos = np.empty_like(indices)
        for visit in range(visits[0], visits[-1] + 1):
            of_visit = visits == visit
            photos[of_visit] = self._permutation(epoch, visit)[positions[of_visit]]
        return photos

    def _candidates(self, epoch, index):
        """The photo of a crop, and those behind it."""
        visit, position = divmod(index, len(self.photos))
        order = self._permutation(epoch, visit)
        return (order[(position + i) % len(order)] for i in range(len(order)))

    def photo(self, epoch: int, index: int) -> str:
        """The name of the photo that crop `index` of `epoch` was cut from."""
        names = (str(self.photos.keys[i]) for i in self._candidates(epoch, index))
        return next(name for name in names if name not in self.photos.bad)

    def __call__(self, epoch: int, index: int) -> np.ndarray:
        """Crop `index` of `epoch`, float32 (height, width, channels) in [0, 1]; of pairs, the clean one."""
        return self.batch(epoch, index, 1)[-1][0]

    def batch(self, epoch: int, start: int, count: int, decode: Callable | None = None) -> tuple[np.ndarray, ...]:
        """`count` crops from `start` on, float32 (crops, height, width, channels); of pairs, degraded and clean ones.

        Args:
            epoch, start, count: of the crops.
            decode: `keras_recon.data.batches.decode_window`, where there is TensorFlow: the same pixels, sooner.
        """
        key = np.random.SeedSequence((self.seed, 1, epoch)).generate_state(2, "uint64")
        # Four numbers are one step of its counter. (crops, 4), from 0 to 2^32 - 1
        draws = (np.random.Philox(key=key, counter=start).random_raw(4 * count) >> np.uint64(32)).reshape(count, 4)
        photos = self._photos(epoch, np.arange(start, start + count))
        kept = (self.photos.store.offsets[photos] >= 0) & (self.photos.store.sizes[photos] >= self.size).all(axis=1)
        groups = []
        if kept.any():
            corners = self._corners(draws[kept], self.photos.store.sizes[photos[kept]])
            groups.append((kept, self.photos.store.cut(photos[kept], *corners.T, self.size)))
        if not kept.all():
            rest = np.flatnonzero(~kept).tolist()
            crops = [self._cut(self._candidates(epoch, start + i), draws[i], decode) for i in rest]
            alike = len({crop.dtype for crop in crops}) == 1  # those of enlarged photos are float
            groups.append((~kept, np.stack(crops if alike else [*map(to_float, crops)])))
        finished = [self._finished(crops, draws[of_group]) for of_group, crops in groups]
        if len(groups) == 1:
            return finished[0]
        order = np.argsort(np.concatenate([np.flatnonzero(of_group) for of_group, _ in groups]))
        return tuple(np.concatenate(of_part)[order] for of_part in zip(*finished))

    def _corners(self, draws, shapes):
        """(top, left) of crops, from numbers and the sizes of photos, (..., 2)."""
        return (draws[..., :2] * (shapes - np.array(self.size) + 1).astype("uint64") >> np.uint64(32)).astype("int64")

    def _cut(self, candidates, draws, decode):
        """A crop, (height, width, channels), of the first photo that can be used."""

        def corner(shape):
            return self._corners(draws, np.array(shape[:2])).tolist()

        def cut(index):
            window = self.photos.window(index, self.size, corner, decode) if decode else None
            if window is not None:
                return window
            photo = cover(self.photos[index], self.size, self.photos.resize)
            top, left = corner(photo.shape)
            return photo[top : top + self.size[0], left : left + self.size[1]]

        return self.photos.first_usable(candidates, cut)

    def _finished(self, crops, draws):
        """Parts, flipped and turned, of crops of any type, which may change."""
        mirrored, turns = draws[:, 2] >> np.uint64(31) > 0, draws[:, 3] >> np.uint64(30)
        parts = self.photos.parts(crops)
        for part in parts:
            part[mirrored] = mirror(part[mirrored])
            for turn in (1, 2, 3) if self.quarter_turns else ():
                part[turns == turn] = np.rot90(part[turns == turn], turn, axes=(1, 2))
        return tuple(map(to_float, parts))


def photos_of_step(
    photos: Photos, image_shape, batch_size: int, steps_per_epoch: int, seed: int, step: int
) -> list[str]:
    """The names of the photos that the batch of a step of `training_batches` was cut from, sorted.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.photos_of_step(training, (64, 64, 3), batch_size=2, steps_per_epoch=100, seed=0, step=7)
    ['cat', 'coins']
    """
    crops = RandomCrops(photos, image_shape[:2], seed)
    epoch, step = divmod(step, steps_per_epoch)
    return sorted({crops.photo(epoch, step * batch_size + i) for i in range(batch_size)})
