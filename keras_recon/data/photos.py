import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.lib.stride_tricks import as_strided

from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import resize_bicubic, to_channels, to_float
from keras_recon.images.reading import JPEGHeader, jpeg_header, read_image
from keras_recon.utils.tables import shown


class Store:
    """Decoded photos of one type and depth, one behind the other in one array of bytes: many are cut in one call.

    Args:
        count: photos that there are.
        room: bytes of memory that they may take; those that find none are not kept.
    """

    def __init__(self, count: int, room: int):
        self.room = room
        self.buffer = None  # uint8, of `room` bytes, of which the system gives those that are written
        self.kind = None  # (type, channels), those of the first photo
        self.offsets = np.full(count, -1, "int64")
        self.sizes = np.zeros((count, 2), "int64")
        self._lock = Lock()
        self._used = 0

    @classmethod
    def of(cls, buffer: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, dtype: str, channels: int) -> "Store":
        """One of photos that lie in `buffer`, uint8, already: from `offsets` on, of `sizes` (height, width)."""
        store = cls(len(offsets), 0)
        store.buffer, store.kind = np.asarray(buffer), (np.dtype(dtype), channels)
        store.offsets, store.sizes = offsets, sizes
        return store

    def add(self, index: int, photo: np.ndarray):
        """Keep photo `index`, (height, width, channels), if there is room."""
        with self._lock:  # tf.data calls from several threads
            start, kind = self._used, (photo.dtype, photo.shape[2])
            if self.offsets[index] >= 0 or start + photo.nbytes > self.room or (self.kind or kind) != kind:
                return
            if self.buffer is None:
                self.buffer = np.empty(self.room, "uint8")
            self.kind = kind
            self._used += photo.nbytes
        self.buffer[start : self._end(start, photo.shape)] = np.ascontiguousarray(photo).reshape(-1).view("uint8")
        self.sizes[index] = photo.shape[:2]
        self.offsets[index] = start  # last: from here on others read it

    def has_room(self, nbytes: int) -> bool:
        """Whether one more photo of so many bytes would be kept."""
        return self._used + nbytes <= self.room

    def get(self, index: int) -> np.ndarray | None:
        """Photo `index`; None if it is not kept."""
        start, shape = self.offsets[index], self.sizes[index]
        if start < 0:
            return None
        return self.buffer[start : self._end(start, shape)].view(self.kind[0]).reshape(*shape, self.kind[1])

    def cut(self, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Windows of `size` (height, width) of photos that are kept, (photos, height, width, channels).

        Args:
            indices: of the photos, (photos,).
            tops, lefts: the corners of the windows, which are inside of the photos, (photos,).
        """
        height, width = size
        depth = self._end(0, (1, 1))
        strides = depth * self.sizes[indices, 1]
        starts = self.offsets[indices] + tops * strides + lefts * depth
        # (bytes, bytes of a row): what begins at each byte.
        rows = as_strided(self.buffer, (len(self.buffer) - width * depth + 1, width * depth), (1, 1), writeable=False)
        rows = rows[starts[:, None] + np.arange(height) * strides[:, None]]  # (photos, height, bytes of a row)
        return rows.view(self.kind[0]).reshape(len(indices), height, width, self.kind[1])

    def _end(self, start, shape):
        dtype, channels = self.kind or (np.dtype("uint8"), 1)
        return start + int(shape[0]) * int(shape[1]) * channels * dtype.itemsize


MAX_BAD_SHARE = 0.5
REPRESENTATIVE = 1000  # so many photos tell of any number
NO_WINDOWS = JPEGHeader(0, 0, -1)  # of a file that is decoded in full only
POLICIES = ("skip", "error")
logger = logging.getLogger(__name__)


class Photos(Sequence):
    """Random access to photographs: `photos[i]` is decoded, (height, width, channels), uint8 or float in [0, 1].

    Args:
        keys: what tells the photos apart: paths, names, numbers.
        read: `read(key)` decodes a photo; a `BadImage` tells that it cannot.
        cache_bytes: decoded photos stay in memory up to so many bytes in all; the others are decoded each time.
        on_bad: what `first_good` does about bad photos: "skip" or "error".
        paths: the file of each key, where they are files.
        file_channels: with `paths`, that the photos are those files, decoded by `read_photo` with so many channels.
        shared_files: files that have all photos, where there is not one for each.

    Attributes:
        bad: why each bad photo that was met is not used, by its key as text.

    Example:

    >>> arrays = {"day": np.full((48, 64, 3), 200, "uint8"), "night": np.zeros((64, 48, 3), "uint8")}
    >>> photos = keras_recon.data.Photos(list(arrays), read=arrays.__getitem__)
    >>> len(photos), photos[1].shape
    (2, (64, 48, 3))
    """

    def __init__(
        self,
        keys: Sequence,
        read: Callable[..., np.ndarray],
        cache_bytes: int = 2**29,
        on_bad: str = "error",
        paths: dict[str, Path] | None = None,
        file_channels: int | None = None,
        shared_files: Sequence[str | Path] = (),
    ):
        if on_bad not in POLICIES:
            raise ValueError(f"`on_bad` must be one of {POLICIES}. Received: on_bad={on_bad!r}")
        self.keys = keys
        self.read = read
        self.cache_bytes = cache_bytes
        self.on_bad = on_bad
        self.paths = paths or {}
        self.file_channels = file_channels
        self.shared_files = shared_files
        self._start()

    def _start(self):
        self.bad = {}
        self._good = set()
        self.store = Store(len(self.keys), self.cache_bytes)
        self._headers = np.zeros((len(self.keys), 3), "int32")  # as `JPEGHeader`; without orientation: not looked at

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index: int) -> np.ndarray:
        photo = self.store.get(index)
        if photo is None:
            photo = self.read(self.keys[index])
            self.store.add(index, photo)
        return photo

    def window(self, index: int, size: tuple[int, int], corner: Callable, decode: Callable) -> np.ndarray | None:
        """A window of a photo that would not be kept, without decoding all of it; None where that cannot be.

        Args:
            index: of the photo.
            size: (height, width) of the window.
            corner: of it, (top, left), by the (height, width) of the photo.
            decode: as `keras_recon.data.batches.decode_window`.
        """
        if self.file_channels is None:
            return None
        path = self.paths[self.keys[index]]
        if not self._headers[index, 2]:
            self._headers[index] = jpeg_header(path) or NO_WINDOWS
        header = JPEGHeader(*self._headers[index].tolist())
        shape = header[:2]
        kept = self.store.has_room(self.file_channels * math.prod(shape))
        if header == NO_WINDOWS or kept or any(have < want for have, want in zip(shape, size)):
            return None
        pixels = decode(path, header, corner(shape), size)
        if pixels is None:
            self._headers[index] = NO_WINDOWS
        known = pixels is None or pixels.shape[2] == self.file_channels
        return pixels if known else to_channels(pixels, self.file_channels)

    def files(self, key) -> Sequence[str | Path]:
        """The files that a photo is read from; none of one that is no file's."""
        return [self.paths[key]] if key in self.paths else self.shared_files

    @property
    def fingerprint(self) -> str:
        """A hash of the keys."""
        return hashlib.sha256(os.fsencode("\0".join(map(str, self.keys)))).hexdigest()

    @property
    def factors(self) -> tuple[int, ...]:
        """How many times as high and wide as the first each of a photo's `parts` is."""
        return (1,)

    def parts(self, photo: np.ndarray) -> tuple[np.ndarray, ...]:
        """The clean photo, or photos (photos, height, width, channels); of pairs, the degraded ones before."""
        return (photo,)

    def resize(self, photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A photo as float, resized (bicubic) to `size` (height, width)."""
        return resized(photo, size)

    def for_upscale(self, upscale: int) -> "Photos":
        """The photos for a model that enlarges so many times; a ValueError where they are none."""
        if upscale > 1:
            received = f"targets of {self.factors[1]} times" if self.factors[1:] else "photos alone"
            raise ValueError(
                f"A model that enlarges {upscale} times must have pairs of photos, the targets {upscale} times as high "
                f"and wide. Received: {received}"
            )
        return self

    def with_keys(self, keys: Sequence, read: Callable[..., np.ndarray] | None = None) -> "Photos":
        """Photos of the same kind under other keys: a part of these, or what another `read` makes of them."""
        photos = copy(self)
        photos.keys = keys
        photos.read = read or self.read
        photos.file_channels = None if read else self.file_channels
        photos._start()
        return photos

    def unkept(self) -> "Photos":
        """The same photos, of which none stays in memory."""
        photos = self.with_keys(self.keys)
        photos.store = Store(len(self.keys), 0)
        photos.bad |= self.bad
        return photos

    def know(self, good: Iterable[int], bad: dict[str, str]):
        """Take photos for good, by their number, and for bad, by their key as text, with the reason."""
        self._good.update(good)
        for key, reason in bad.items():
            self.reject(key, reason)

    def first_good(self, indices: Iterable[int], prepare: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        """`prepare(photo)` of the first photo that can be used; None if there is none.

        A photo is bad if `read` or `prepare` raises a `BadImage`: it is not tried again. A ValueError tells of the
        first one under the policy "error", and under "skip" that more than half of the photos are bad.
        """
        return self.first_usable(indices, lambda index: prepare(self[index]))

    def first_usable(self, indices: Iterable[int], use: Callable[[int], np.ndarray]) -> np.ndarray | None:
        """The same of `use(index)`."""
        for index in indices:
            if str(self.keys[index]) not in self.bad:
                try:
                    used = use(index)
                except BadImage as error:
                    self.reject(self.keys[index], error.reason)
                else:
                    self._good.add(int(index))
                    return used
            self._check_share()
        return None

    def reject(self, key, reason: str):
        """Take a photo for bad: the log tells of it once."""
        if self.on_bad == "error":
            raise ValueError(str(BadImage(reason, key)))  # by its plain name it comes out of tf.data
        is_new = str(key) not in self.bad
        self.bad[str(key)] = reason  # at once: another thread may meet it while this one writes
        if is_new:
            logger.warning("%s is left out: %s", shown(str(key)), reason)
        self._check_share()

    def _check_share(self):
        tried = len(self.bad) + len(self._good)
        if len(self.bad) > MAX_BAD_SHARE * min(len(self), max(tried, REPRESENTATIVE)):
            name, reason = next(iter(self.bad.items()))
            raise ValueError(
                f"{len(self.bad)} of {tried} photos that were tried, {len(self)} in all, cannot be used, which is more "
                f"than {MAX_BAD_SHARE:.0%}, such as {shown(name)}: {reason}"
            )


def resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photo as float32 in [0, 1], resized (bicubic) to `size` (height, width)."""
    return np.clip(resize_bicubic(to_float(photo), size), 0.0, 1.0)


def read_photo(path: str | Path, channels: int) -> np.ndarray:
    """Decode the first frame of an image file to uint8 (height, width, channels), upright by its EXIF orientation.

    What cannot be read raises a `BadImage`, see `keras_recon.images.decoding.open_image`.

    Example:

    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("night.png", image)
    >>> keras_recon.data.read_photo("night.png", channels=1).shape
    (48, 64, 1)
    """
    return read_image(path).in_8_bits(channels)
