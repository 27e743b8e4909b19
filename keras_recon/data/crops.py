"""Crops of photos, on fixed grids and at random, and the (degraded, clean) pairs that are made of them."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, pairwise

import numpy as np

from keras_recon.data.photos import Photos, resized
from keras_recon.degradations import Degradation, degrade
from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import mirror, resize_bicubic, to_float

MAX_ENLARGEMENT = 8
MAX_LENGTH = 16  # of an enlarged photo, in crops: one of 8 rows and a million columns would take gigabytes
DRAWS = 2  # version of what is drawn from a seed; a run cannot continue with another version. 1 was PCG64, crop by crop
VALIDATION_BYTES = 2**27  # of crops in memory


def grid_crops(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> np.ndarray:
    """Return the crops of `photo_grids` in one array, float32 (crops, height, width, channels).

    Example:
    >>> photos, _ = keras_recon.data.load_photos([np.zeros((1, 128, 192, 3), "uint8")] * 2)
    >>> keras_recon.data.grid_crops(photos, (64, 64), stride=64).shape
    (6, 64, 64, 3)
    """
    return np.concatenate(list(photo_grids(photos, size, stride, limit)))


def photo_grids(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> Iterator[np.ndarray]:
    """Cut every photo on a fixed grid from its top left corner; of pairs, the clean photos.

    A bad photo has no crops. With a limit, the next photo that would be left out takes its place.

    Args:
        photos: the photos. A photo smaller than the crop is enlarged to cover it, see `cover`.
        size: (height, width) of the crops in pixels; of pairs, of the degraded crops.
        stride: pixels between the corners of neighbouring crops.
        limit: maximum number of crops, spread evenly over the photos and over the grid of each; None for all.

    Yields:
        The crops of each photo, float32 (crops, height, width, channels) in [0, 1].

    Example:
    >>> images = [np.zeros((128, 192, 3), "uint8"), np.zeros((64, 64, 3), "uint8")]
    >>> photos, _ = keras_recon.data.load_photos((images, images))
    >>> [len(crops) for crops in keras_recon.data.photo_grids(photos, (64, 64), stride=64)]
    [6, 1]
    """
    return (parts[-1] for parts in part_grids(photos, size, stride, limit))


def part_grids(photos: Photos, size: tuple[int, int], stride: int, limit: int | None = None) -> Iterator[tuple]:
    """Cut as `photo_grids`, and yield (crops,) of each photo, or (degraded, clean) crops of each pair."""
    if not len(photos):
        raise ValueError("`photos` must have a photo to cut crops from. Received: 0 photos")
    chosen = range(len(photos)) if limit is None else _spread(len(photos), limit)
    per_photo = None if limit is None else limit // len(chosen)
    for start, end in pairwise([*chosen, len(photos)]):
        photo = photos.first_usable(range(start, end), lambda index: cover(photos.parts(index), size))
        if photo is None:
            continue
        rows, columns = (range(0, have - want + 1, stride) for have, want in zip(photo[0].shape, size))
        corners = [(top, left) for top in rows for left in columns]
        corners = [corners[i] for i in _spread(len(corners), per_photo or len(corners))]
        crops = zip(*(_cut(photo, corner, size) for corner in corners))
        yield tuple(to_float(np.stack(of_part)) for of_part in crops)


def middle_parts(photos: Photos, longest: int) -> tuple[np.ndarray, ...]:
    """Return the photo of `middle_photo`, and before it the input of a pair or of a model that enlarges.

    Pairs are cropped to `longest` pixels, because downscaling removes degradations.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> [part.shape for part in keras_recon.data.middle_parts(validation, longest=300)]
    [(200, 300, 3)]
    """
    if not photos.is_paired:
        photo = middle_photo(photos, longest)
        whole = photo[tuple(slice(side - side % photos.upscale) for side in photo.shape[:2])]
        return (photo,) if photos.upscale == 1 else (inputs_of(whole[None], photos.upscale)[0], whole)

    def cut(index):
        parts = photos.parts(index)
        sides = parts[0].shape[:2]
        corner = [max(0, side - longest // photos.upscale) // 2 for side in sides]
        return tuple(map(to_float, _cut(parts, corner, [side - 2 * start for side, start in zip(sides, corner)])))

    return photos.first_usable(_from_the_middle(photos), cut)


def middle_photo(photos: Photos, longest: int) -> np.ndarray:
    """Return the photo in the middle of all, or the next usable one, float32 (height, width, channels) in [0, 1].

    A longer side than `longest` pixels is downscaled to that.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.middle_photo(validation, longest=300).shape
    (200, 300, 3)
    """

    def scaled(index):
        photo = photos.parts(index)[-1]
        scale = longest / max(photo.shape[:2])
        if scale >= 1:
            return to_float(photo)
        size = [max(1, round(side * scale)) for side in photo.shape[:2]]
        return np.clip(to_float(resize_bicubic(photo, size)), 0.0, 1.0)

    return photos.first_usable(_from_the_middle(photos), scaled)


def _from_the_middle(photos):
    middle = len(photos) // 2
    return chain(range(middle, len(photos)), range(middle))


def _spread(count: int, limit: int) -> list[int]:
    return np.linspace(0, count, min(count, limit), endpoint=False).astype(int).tolist()


def _cut(parts, corner, size):
    """The window of the first part at `corner` (top, left), of `size` (height, width), and that of the other parts."""
    scales = (part.shape[0] // parts[0].shape[0] for part in parts)
    return tuple(
        part[tuple(slice(scale * start, scale * (start + side)) for start, side in zip(corner, size))]
        for part, scale in zip(parts, scales)
    )


def cover(parts: tuple[np.ndarray, ...], size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Enlarge (bicubic, same aspect ratio) a photo that does not cover `size`.

    The middle is kept of a photo that would then be longer than 16 crops.

    Args:
        parts: (photo,), or (degraded, clean) of a pair.
        size: (height, width), in pixels of the first part.

    Raises:
        BadImage: it needs more than an 8-fold enlargement.
    """
    shape = parts[0].shape[:2]
    scale = max(want / have for want, have in zip(size, shape))
    if scale <= 1:
        return parts
    if scale > MAX_ENLARGEMENT:
        raise BadImage(
            f"{shape[0]}x{shape[1]} pixels are too few for crops of {size[0]}x{size[1]}, "
            f"which may enlarge a photo {MAX_ENLARGEMENT} times (height x width)"
        )
    kept = [min(have, math.ceil(MAX_LENGTH * want / scale)) for want, have in zip(size, shape)]
    middle = _cut(parts, [(have - keep) // 2 for have, keep in zip(shape, kept)], kept)
    enlarged = [max(want, round(have * scale)) for want, have in zip(size, kept)]
    return tuple(resized(part, [part.shape[0] // kept[0] * side for side in enlarged]) for part in middle)


class RandomCrops:
    """Random crops, flipped left-right with probability 0.5; `crops(epoch, index)` is a pure function.

    Every photo is used once before any is used again; the order is a new permutation each time. A bad photo is replaced
    by the next one in this order, no matter which thread meets it first and when. All other numbers are drawn by
    Philox, a generator with random access, see `DRAWS`.

    Args:
        photos: the photos. A photo smaller than the crop is enlarged to cover it, see `cover`.
        size: (height, width) of the crops in pixels; of pairs, of the degraded crops.
        seed: an integer from 0.
        quarter_turns: whether the crops, which must be square, are also rotated by 0, 90, 180 or 270 degrees.

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
        """The photo of each crop; some may be bad."""
        visits, positions = np.divmod(indices, len(self.photos))
        photos = np.empty_like(indices)
        for visit in range(visits[0], visits[-1] + 1):
            of_visit = visits == visit
            photos[of_visit] = self._permutation(epoch, visit)[positions[of_visit]]
        return photos

    def _candidates(self, epoch, index):
        """The photo of a crop, and the photos that replace it if it is bad."""
        visit, position = divmod(index, len(self.photos))
        order = self._permutation(epoch, visit)
        return (order[(position + i) % len(order)] for i in range(len(order)))

    def photo(self, epoch: int, index: int) -> str:
        """Return the name of the photo that crop `index` of `epoch` was cut from."""
        names = (str(self.photos.keys[i]) for i in self._candidates(epoch, index))
        return next(name for name in names if name not in self.photos.bad)

    def __call__(self, epoch: int, index: int) -> np.ndarray:
        """Return crop `index` of `epoch`, float32 (height, width, channels) in [0, 1]; of pairs, the clean crop."""
        return self.batch(epoch, index, 1)[-1][0]

    def batch(self, epoch: int, start: int, count: int, decode: Callable | None = None) -> tuple[np.ndarray, ...]:
        """Return consecutive crops.

        Args:
            epoch: the epoch, from 0.
            start: index of the first crop in the epoch.
            count: number of crops.
            decode: `keras_recon.data.batches.decode_window` if TensorFlow is installed: the same pixels, faster.

        Returns:
            (crops,), or (degraded, clean) crops of pairs, float32 (count, height, width, channels) in [0, 1].
        """
        key = np.random.SeedSequence((self.seed, 1, epoch)).generate_state(2, "uint64")
        # Philox yields four numbers per step of its counter: (crops, 4), from 0 to 2^32 - 1.
        draws = (np.random.Philox(key=key, counter=start).random_raw(4 * count) >> np.uint64(32)).reshape(count, 4)
        photos, store = self._photos(epoch, np.arange(start, start + count)), self.photos.store
        kept = (store.offsets[photos] >= 0) & (store.sizes[photos] >= self.size).all(axis=1)
        groups = []
        if kept.any():
            corners = self._corners(draws[kept], store.sizes[photos[kept]])
            groups.append((kept, store.cut(photos[kept], *corners.T, self.size)))
        if not kept.all():
            rest = np.flatnonzero(~kept).tolist()
            crops = [self._crop(self._candidates(epoch, start + i), draws[i], decode) for i in rest]
            groups.append((~kept, tuple(map(_stacked, zip(*crops)))))
        finished = [self._finished(parts, draws[of_group]) for of_group, parts in groups]
        if len(groups) == 1:
            return finished[0]
        order = np.argsort(np.concatenate([np.flatnonzero(of_group) for of_group, _ in groups]))
        return tuple(np.concatenate(of_part)[order] for of_part in zip(*finished))

    def _corners(self, draws, shapes):
        """(top, left) of crops, (..., 2), from random numbers and the sizes of photos, (..., 2)."""
        return (draws[..., :2] * (shapes - np.array(self.size) + 1).astype("uint64") >> np.uint64(32)).astype("int64")

    def _crop(self, candidates, draws, decode):
        """The parts of a crop, (height, width, channels) each, of the first usable photo."""

        def corner(shape):
            return self._corners(draws, np.array(shape[:2])).tolist()

        def cut(index):
            window = self.photos.window(index, self.size, corner, decode) if decode else None
            if window is not None:
                return (window,)
            parts = cover(self.photos.parts(index), self.size)
            return _cut(parts, corner(parts[0].shape), self.size)

        return self.photos.first_usable(candidates, cut)

    def _finished(self, parts, draws):
        """The parts of crops, flipped and rotated in place, as float."""
        mirrored, turns = draws[:, 2] >> np.uint64(31) > 0, draws[:, 3] >> np.uint64(30)
        for part in parts:
            part[mirrored] = mirror(part[mirrored])
            for turn in (1, 2, 3) if self.quarter_turns else ():
                part[turns == turn] = np.rot90(part[turns == turn], turn, axes=(1, 2))
        return tuple(map(to_float, parts))


def _stacked(crops):
    alike = len({crop.dtype for crop in crops}) == 1  # crops of enlarged photos are float
    return np.stack(crops if alike else [*map(to_float, crops)])


class RandomPairs:
    """(degraded, clean) pairs of random crops; `pairs(epoch, index)` is a pure function of its arguments.

    The clean crops are `photos.upscale` times as high and wide as the degraded crops. If the photos are not paired, a
    degraded crop is the clean crop, downscaled (bicubic, antialiased) and then degraded.

    Args:
        photos: photos or pairs of photos.
        image_shape: (height, width, channels) of the degraded crops.
        seed: an integer from 0.
        degradation: makes the degraded crops, which are the clean ones if None.
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
        clean = (photos.upscale * height, photos.upscale * width, channels)
        are_equal = not photos.is_paired and photos.upscale == 1 and degradation is None
        self.shapes = [clean] if are_equal else [tuple(image_shape), clean]
        self.seed = seed
        self.degradation = degradation
        self.crops = RandomCrops(photos, crop_size(photos, image_shape), seed, quarter_turns)

    def __call__(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return pair `index` of `epoch`, float32 (height, width, channels) each."""
        degraded, clean = self.batch(epoch, index, 1)
        return degraded[0], clean[0]

    def batch(
        self, epoch: int, start: int, count: int, decode: Callable | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` pairs from `start` on, float32 (count, height, width, channels) each.

        See `RandomCrops.batch`. Equal images are one array.
        """
        *degraded, clean = self.crops.batch(epoch, start, count, decode)
        if degraded:
            return degraded[0], clean
        inputs = inputs_of(clean, self.crops.photos.upscale)
        return degrade(inputs, self.degradation, (self.seed, 2, epoch), start), clean


def grid_pairs(
    photos: Photos, image_shape: tuple[int, int, int], limit: int = 512, degradation: Degradation | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (degraded, clean) crops from all photos, side by side, float32 (crops, height, width, channels) each.

    The degraded crops are the same in every call, see `RandomPairs`. There are at most `limit`.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> degraded, clean = keras_recon.data.grid_pairs(validation, (64, 64, 3))
    >>> clean.shape
    (178, 64, 64, 3)
    """
    check_degradation(photos, degradation)
    room = VALIDATION_BYTES // (4 * math.prod(image_shape) * photos.upscale**2)
    size = crop_size(photos, image_shape)
    grids = part_grids(photos, size, max(size), max(1, min(limit, room)))
    *degraded, clean = (np.concatenate(crops) for crops in zip(*grids))
    return degraded[0] if degraded else degrade(inputs_of(clean, photos.upscale), degradation), clean


def inputs_of(clean: np.ndarray, upscale: int) -> np.ndarray:
    """Downscale clean crops (crops, height, width, channels) by `upscale`: float32 in [0, 1]."""
    if upscale == 1:
        return clean
    return np.stack([resized(crop, [side // upscale for side in crop.shape[:2]]) for crop in clean])


def crop_size(photos, image_shape):
    """Return the (height, width) that is cut from photos, or from the degraded photos of pairs."""
    return tuple(side if photos.is_paired else photos.upscale * side for side in image_shape[:2])


def check_degradation(photos: Photos, degradation: Degradation | None):
    """Raise a ValueError for a degradation of pairs, which are degraded already."""
    if degradation is not None and photos.is_paired:
        raise ValueError(f"`degradation` must be None for pairs of photos. Received: degradation={str(degradation)!r}")


def spread(batches: Iterable, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose `count` (degraded, clean) pairs of a finite data set of batches.

    The data set is divided into `count` equal parts. The pair with the most contrast is chosen from each.

    Returns:
        (degraded, clean), arrays (count, height, width, channels).

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


def photos_of_step(
    photos: Photos, image_shape, batch_size: int, steps_per_epoch: int, seed: int, step: int
) -> list[str]:
    """Return the sorted names of the photos from which the batch of a step of `training_batches` was cut.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.photos_of_step(training, (64, 64, 3), batch_size=2, steps_per_epoch=100, seed=0, step=7)
    ['cat', 'coins']
    """
    crops = RandomCrops(photos, image_shape[:2], seed)
    epoch, step = divmod(step, steps_per_epoch)
    return sorted({crops.photo(epoch, step * batch_size + i) for i in range(batch_size)})
