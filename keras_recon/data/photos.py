"""Random access to photos: the source class and the policy on bad files."""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from keras_recon.data.cache import Store
from keras_recon.degradations.base import require
from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import from_float, resize_bicubic, to_channels, to_float
from keras_recon.images.reading import JPEGHeader, jpeg_header, read_image
from keras_recon.utils.tables import shown

MAX_BAD_SHARE = 0.5
REPRESENTATIVE = 1000  # this many photos are a sample of any number
POLICIES = ("skip", "error")
NO_WINDOWS = JPEGHeader(0, 0, -1)  # of a file that must be decoded in full
logger = logging.getLogger(__name__)


class BadFiles:
    """The policy on files that cannot be used, shared by all sources of the same photos.

    Args:
        on_bad: "skip" logs each bad file once and goes on without it; "error" raises a ValueError.
        reasons: the files that are known to be bad, see below.

    Attributes:
        policy: "skip" or "error".
        reasons: why each bad file cannot be used, by its key as text.
    """

    def __init__(self, on_bad: str, reasons: Mapping[str, str] | None = None):
        require(on_bad in POLICIES, "on_bad", f"one of {POLICIES}", on_bad)
        self.policy = on_bad
        self.reasons = dict(reasons or {})
        self._good = set()

    def accept(self, keys: Iterable):
        """Count files as good."""
        self._good.update(map(str, keys))

    def reject(self, key, reason: str):
        """Count a file as bad: log it once, or raise a ValueError."""
        if self.policy == "error":
            raise ValueError(str(BadImage(reason, key)))  # tf.data passes the message of a ValueError on
        is_new = str(key) not in self.reasons
        self.reasons[str(key)] = reason  # before logging, which takes time: other threads may meet the file
        if is_new:
            logger.warning("%s is left out: %s", shown(str(key)), reason)

    def check_share(self, count: int):
        """Raise a ValueError if more than half of the files that were tried, of `count` files in all, are bad."""
        bad, tried = len(self.reasons), len(self.reasons) + len(self._good)
        if bad > MAX_BAD_SHARE * min(count, max(tried, REPRESENTATIVE)):
            name, reason = next(iter(self.reasons.items()))
            raise ValueError(
                f"{bad} of {tried} photos that were tried, {count} in all, cannot be used, which is more than "
                f"{MAX_BAD_SHARE:.0%}, such as {shown(name)}: {reason}"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Photos(Sequence):
    """An immutable source of photos with random access: `photos[i]` decodes one.

    A photo is an array (height, width, channels), uint8 or float in [0, 1]; in a source of pairs, `photos[i]` is a
    tuple (degraded, clean) of arrays. Sources are derived from each other: `subset`, `derive`, `downscaled`,
    `for_upscale`, `kept_on_disk`.

    Args:
        keys: a key for each photo: a path, a name or a number.
        read: `read(key)` decodes a photo or a pair, or raises a `BadImage`.
        cache_bytes: decoded photos stay in memory up to this size; the others are decoded each time.
        on_bad: "skip" or "error", see `BadFiles`; or the `BadFiles` of a source of the same photos.
        paths: for each key the files that the photo is read from: (path,), or (degraded, clean) paths of a pair.
        file_channels: if given, a photo is its file, decoded by `read_photo` to this number of channels.
        shared_files: files that contain all photos, if a photo has no files of its own.
        is_paired: whether `read` returns pairs.
        upscale: how many times as high and wide as the input of a model the clean photo is. Inputs of photos that are
            not paired are made by downscaling crops, see `RandomPairs`.
        store: decoded photos; an empty store in memory if None.

    Example:
    >>> arrays = {"day": np.full((48, 64, 3), 200, "uint8"), "night": np.zeros((64, 48, 3), "uint8")}
    >>> photos = keras_recon.data.Photos(list(arrays), read=arrays.__getitem__)
    >>> len(photos), photos[1].shape
    (2, (64, 48, 3))
    """

    keys: Sequence
    read: Callable
    cache_bytes: int = 2**29
    on_bad: str | BadFiles = "error"
    paths: Mapping = field(default_factory=dict)
    file_channels: int | None = None
    shared_files: Sequence[str | Path] = ()
    is_paired: bool = False
    upscale: int = 1
    store: Store | None = None

    def __post_init__(self):
        if not isinstance(self.on_bad, BadFiles):
            object.__setattr__(self, "on_bad", BadFiles(self.on_bad))
        if self.store is None:
            object.__setattr__(self, "store", Store(len(self.keys), self.cache_bytes, self.scales))
        # `JPEGHeader`s; the orientation is 0 before the file was looked at
        object.__setattr__(self, "_headers", np.zeros((len(self.keys), 3), "int32"))

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index: int) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        parts = self.parts(index)
        return parts if self.is_paired else parts[0]

    def parts(self, index: int) -> tuple[np.ndarray, ...]:
        """Decode photo `index`: (photo,), or (degraded, clean) of a pair."""
        parts = self.store.get(index)
        if parts is None:
            photo = self.read(self.keys[index])
            parts = photo if self.is_paired else (photo,)
            self.store.add(index, parts)
        return parts

    @property
    def scales(self) -> tuple[int, ...]:
        """How many times as high and wide as the first part of a photo each of its parts is."""
        return (1, self.upscale) if self.is_paired else (1,)

    @property
    def bad(self) -> dict[str, str]:
        """Why each bad photo that was met cannot be used, by its key as text."""
        return self.on_bad.reasons

    @property
    def fingerprint(self) -> str:
        """A hash of the keys."""
        names = hashlib.sha256(os.fsencode("\0".join(map(str, self.keys)))).hexdigest()
        return f"{names} paired" if self.is_paired else names

    def files(self, key) -> Sequence[str | Path]:
        """Return the files that a photo is read from; an empty sequence if it is not read from files."""
        return self.paths.get(key, self.shared_files)

    def window(self, index: int, size: tuple[int, int], corner: Callable, decode: Callable) -> np.ndarray | None:
        """Decode a window of a photo that would not be kept in memory, without decoding the whole photo.

        Args:
            index: of the photo.
            size: (height, width) of the window.
            corner: returns the (top, left) of the window for the (height, width) of the photo.
            decode: `keras_recon.data.batches.decode_window`.

        Returns:
            The window; None if the photo must be decoded in full.
        """
        if self.file_channels is None:
            return None
        (path,) = self.paths[self.keys[index]]
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

    def first_usable(self, indices: Iterable[int], use: Callable | None = None):
        """Return `use(index)` for the first photo that is not bad; None if all are.

        Args:
            indices: of photos. A photo is bad if `use` raises a `BadImage`; it is not tried again.
            use: by default decodes the photo.

        Raises:
            ValueError: a photo is bad and the policy is "error", or more than half of the photos are bad.
        """
        for index in indices:
            key = self.keys[index]
            if str(key) not in self.bad:
                try:
                    used = (use or self.__getitem__)(index)
                except BadImage as error:
                    self.on_bad.reject(key, error.reason)
                else:
                    self.on_bad.accept([key])
                    return used
            self.on_bad.check_share(len(self))
        return None

    def reject(self, key, reason: str):
        """Mark a photo as bad, see `BadFiles`."""
        self.on_bad.reject(key, reason)
        self.on_bad.check_share(len(self))

    def derive(self, **changes) -> "Photos":
        """Return a source that differs in some arguments; it shares the policy on bad files, but no decoded photos."""
        return replace(self, **{"store": None, **changes})

    def subset(self, keys: Sequence, bad: Mapping[str, str] | None = None) -> "Photos":
        """Return a source of some of the photos.

        Args:
            keys: of the photos.
            bad: the photos among them that are known to be bad; by default all that are known.
        """
        return self.derive(keys=keys, on_bad=BadFiles(self.on_bad.policy, self.bad if bad is None else bad))

    def unkept(self) -> "Photos":
        """Return a source of the same photos that keeps none in memory."""
        return self.derive(cache_bytes=0)

    def downscaled(self, side: int) -> "Photos":
        """Return a source in which the shorter side of larger photos is `side` pixels (bicubic, antialiased)."""

        def read(key):
            photo = self.read(key)
            scale = side / min(photo.shape[:2])
            if scale >= 1:
                return photo
            return from_float(resized(photo, [round(scale * length) for length in photo.shape[:2]]), photo.dtype)

        return self.derive(read=read, file_channels=None)

    def for_upscale(self, upscale: int) -> "Photos":
        """Return a source for a model whose outputs are `upscale` times as high and wide as its inputs.

        Inputs of photos that are not paired are made by downscaling crops. The targets of pairs must be `upscale` times
        as high and wide as their inputs; for `upscale=1`, smaller inputs are enlarged by bicubic interpolation.
        """
        if upscale == self.upscale:
            return self
        if not self.is_paired:
            return replace(self, upscale=upscale)
        if upscale > 1:
            raise ValueError(
                f"A model that enlarges {upscale} times must have pairs whose targets are {upscale} times as high and "
                f"wide as their inputs. Received: targets of {self.upscale} times the size"
            )
        logger.warning("the inputs are enlarged %s times by bicubic interpolation, as the model does not", self.upscale)
        indices = {key: i for i, key in enumerate(self.keys)}

        def read(key):
            degraded, clean = self[indices[key]]
            return from_float(resize_bicubic(to_float(degraded), clean.shape[:2]), np.uint8), clean

        return self.derive(read=read, upscale=1)


def resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a photo (bicubic, antialiased) to `size` (height, width): float32 in [0, 1]."""
    return np.clip(resize_bicubic(to_float(photo), size), 0.0, 1.0)


def read_photo(path: str | Path, channels: int) -> np.ndarray:
    """Decode the first frame of an image file to uint8 (height, width, channels), upright by its EXIF orientation.

    Raises:
        BadImage: the file cannot be decoded, see `keras_recon.images.open_image`.

    Example:
    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("night.png", image)
    >>> keras_recon.data.read_photo("night.png", channels=1).shape
    (48, 64, 1)
    """
    return read_image(path).in_8_bits(channels)
