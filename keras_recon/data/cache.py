"""Decoded photos, kept in memory or in a file that is mapped into memory."""

import hashlib
import json
import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from filelock import FileLock
from numpy.lib.stride_tricks import as_strided

from keras_recon.data.folders import stamp
from keras_recon.utils.files import remove_temporaries, replacing

AT_A_TIME = 64  # photos in memory while the cache on disk is written
logger = logging.getLogger(__name__)


class Store:
    """Decoded photos of one type, one after the other in one byte array, from which many windows are cut in one call.

    Args:
        count: number of photos.
        room: maximum number of bytes; photos beyond it are not kept.
        scales: how many times as high and wide as its first part each part of a photo is.
    """

    def __init__(self, count: int, room: int, scales: tuple[int, ...] = (1,)):
        self.room = room
        self.scales = scales
        self.buffer = None  # uint8, of `room` bytes, of which the system allocates those that are written
        self.kind = None  # (type, channels) of the first photo
        self.offsets = np.full(count, -1, "int64")
        self.sizes = np.zeros((count, 2), "int64")  # of the first parts
        self._lock = Lock()
        self._used = 0

    def add(self, index: int, parts: tuple[np.ndarray, ...]):
        """Keep the parts of photo `index`, (height, width, channels) each, if there is room."""
        nbytes = sum(part.nbytes for part in parts)
        with self._lock:  # tf.data calls from several threads
            start, kind = self._used, self.kind or _kind(parts[0])
            if self.offsets[index] >= 0 or not self.has_room(nbytes) or any(_kind(part) != kind for part in parts):
                return
            if self.buffer is None:
                self.buffer = np.empty(self.room, "uint8")
            self.kind = kind
            self._used += nbytes
        self.sizes[index] = parts[0].shape[:2]
        for part in parts:
            self.buffer[start : start + part.nbytes] = np.ascontiguousarray(part).reshape(-1).view("uint8")
            start += part.nbytes
        self.offsets[index] = start - nbytes  # last: from here on other threads read the photo

    def has_room(self, nbytes: int) -> bool:
        """Return whether a photo of this size would be kept."""
        return self._used + nbytes <= self.room

    def get(self, index: int) -> tuple[np.ndarray, ...] | None:
        """Return the parts of photo `index`; None if it is not kept."""
        end = self.offsets[index]
        if end < 0:
            return None
        parts = []
        for scale in self.scales:
            shape = (*(scale * self.sizes[index]), self.kind[1])
            start, end = end, end + math.prod(shape) * self.kind[0].itemsize
            parts.append(self.buffer[start:end].view(self.kind[0]).reshape(shape))
        return tuple(parts)

    def cut(
        self, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, ...]:
        """Cut windows of the first part of photos that are kept, and the same windows of their other parts.

        Args:
            indices: of the photos, (windows,).
            tops: of the windows in the first part, (windows,).
            lefts: the same.
            size: (height, width) of the windows in the first part.

        Returns:
            An array (windows, height, width, channels) for each part.
        """
        (dtype, channels), before, parts = self.kind, 0, []
        pixel = dtype.itemsize * channels
        for scale in self.scales:
            height, width = scale * size[0], scale * size[1]
            strides = pixel * scale * self.sizes[indices, 1]
            starts = self.offsets[indices] + before * pixel * self.sizes[indices].prod(axis=1)
            starts += scale * (tops * strides + lefts * pixel)
            before += scale**2
            # (bytes, bytes of a row): the row that would begin at each byte.
            shape = (len(self.buffer) - width * pixel + 1, width * pixel)
            rows = as_strided(self.buffer, shape, (1, 1), writeable=False)
            rows = rows[starts[:, None] + np.arange(height) * strides[:, None]]  # (windows, height, bytes of a row)
            parts.append(rows.view(dtype).reshape(len(indices), height, width, channels))
        return tuple(parts)


def _kind(part):
    return part.dtype, part.shape[2]


def kept_on_disk(photos, folder: Path, kind: str):
    """Return a source of the same photos, decoded once into a file that is mapped into memory.

    The file is written unless an earlier call wrote it and no file of a photo changed since, by path, size and time.
    Bad photos are remembered. Photos that are not read from files are returned unchanged.

    Args:
        photos: the source.
        folder: contains a folder for each list of files and each kind.
        kind: what is made of the files, such as the number of channels.

    Raises:
        OSError: the folder cannot be written, for example because the disk is full. No partial file stays.

    Example:
    >>> pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), "uint8")
    >>> keras_recon.images.write_image("photos/a.jpg", keras_recon.images.ImageFile(pixels))
    >>> photos = kept_on_disk(keras_recon.data.folder_photos(tmp_path / "photos"), tmp_path / "cache", "3 channels")
    >>> photos[0].shape
    (48, 64, 3)
    """
    files = [photos.files(key) for key in photos.keys]
    if not all(files):
        return photos
    layout = ["degraded, then clean"] if photos.is_paired else []
    names = [kind, *layout, photos.fingerprint, *(os.path.abspath(path) for of_photo in files for path in of_photo)]
    name = hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:16]
    path, stamps = folder / f"photos-{name}", _stamps(files)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):  # one process decodes
        index = _index(path, stamps)
        if index is None:
            remove_temporaries(folder, {path})  # of a killed process
            _write(path, photos.unkept(), stamps)
            index = _index(path, stamps)
    for key, reason in json.loads(str(index["bad"])).items():
        photos.reject(key, reason)
    good = np.flatnonzero(index["offsets"] >= 0)
    photos.on_bad.accept(photos.keys[i] for i in good)
    store = Store(len(photos), 0, photos.scales)
    if len(good):
        store.buffer = np.asarray(np.memmap(path / "pixels", "uint8", "r"))
        store.kind = np.dtype(str(index["dtype"])), int(index["channels"])
        store.offsets, store.sizes = index["offsets"], index["sizes"]
    return photos.derive(store=store)


def _stamps(files):
    """(photos, 16), uint8."""
    known = {path: stamp(path) for path in {path for of_photo in files for path in of_photo}}
    joined = [b"".join(known[path] for path in of_photo) for of_photo in files]
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in joined)
    return np.frombuffer(digests, "uint8").reshape(len(files), 16)


def _index(path, stamps):
    """What was written about the photos; None if nothing was, or if files changed."""
    try:
        with np.load(path / "index.npz") as file:
            index = dict(file)
    except OSError:
        return None
    return index if np.array_equal(index["stamps"], stamps) else None


def _write(path, photos, stamps):
    """Decode all photos into the file."""
    logger.warning("%s photos are decoded into %s", f"{len(photos):,}", path)
    kind, position = None, 0
    offsets, sizes = np.full(len(photos), -1), np.zeros((len(photos), 2), int)
    with replacing(path) as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        temporary.mkdir()
        with _synced(temporary / "pixels") as file:
            for start in range(0, len(photos), AT_A_TIME):
                some = range(start, min(start + AT_A_TIME, len(photos)))
                for i, parts in zip(some, pool.map(lambda i: photos.first_usable([i], photos.parts), some)):
                    kind = kind or (parts and _kind(parts[0]))
                    if parts is None or any(_kind(part) != kind for part in parts):  # other kinds are read each time
                        continue
                    offsets[i], sizes[i] = position, parts[0].shape[:2]
                    for part in parts:  # not a mapped file: it would end the process when the disk is full
                        file.write(np.ascontiguousarray(part).data)
                        position += part.nbytes
        dtype, channels = kind or (np.dtype("uint8"), 1)
        facts = {"stamps": stamps, "offsets": offsets, "sizes": sizes, "dtype": dtype.str, "channels": channels}
        with _synced(temporary / "index.npz") as file:
            np.savez(file, **facts, bad=json.dumps(photos.bad))


@contextmanager
def _synced(path):
    """A file that is on the disk when it is closed, also if the machine is cut off."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
