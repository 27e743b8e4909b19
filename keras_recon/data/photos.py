import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path

import numpy as np

from keras_recon.data.store import Store
from keras_recon.images.files import BadImage
from keras_recon.images.jpeg import JPEGHeader, jpeg_header
from keras_recon.images.pixels import to_channels, to_float
from keras_recon.images.reading import read_image
from keras_recon.images.resize import resize_bicubic
from keras_recon.utils.tables import shown

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
            decode: as `keras_recon.data.windows.decode_window`.
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

    What cannot be read raises a `BadImage`, see `keras_recon.images.files.open_image`.

    Example:

    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("night.png", image)
    >>> keras_recon.data.read_photo("night.png", channels=1).shape
    (48, 64, 1)
    """
    return read_image(path).in_8_bits(channels)
