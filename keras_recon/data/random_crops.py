from collections.abc import Callable
from functools import lru_cache

import numpy as np

from keras_recon.data.crops import cover
from keras_recon.data.photos import Photos
from keras_recon.images.pixels import mirror, to_float

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
            decode: `keras_recon.data.windows.decode_window`, where there is TensorFlow: the same pixels, sooner.
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
