"""Photos that are decoded once, into a file that is mapped into memory."""

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from keras_recon.data.files import stamp
from keras_recon.data.photos import Photos, Store
from keras_recon.utils.files import remove_temporaries, replacing

AT_A_TIME = 64  # photos in memory while they are written
logger = logging.getLogger(__name__)


def kept_on_disk(photos: Photos, folder: Path, kind: str) -> Photos:
    """The same photos, decoded in the folder: now, unless an earlier call did it and none of their files changed since.

    The files are told by their paths, sizes and times. A file whose photo cannot be used is remembered as bad. Photos
    that are no files, and have none that are shared, are given back as they are.

    Args:
        photos: of files.
        folder: has a folder for each list of files, each kind and each version of this.
        kind: tells what is made of the files, such as the number of channels.

    Raises:
        OSError: they cannot be written, as where the disk is full. Nothing half is left.

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
    names = [kind, photos.fingerprint, *(os.path.abspath(path) for of_photo in files for path in of_photo)]
    name = hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:16]
    path = folder / f"photos-{name}"
    stamps = _stamps(files)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):  # of several processes, one decodes
        index = _index(path, stamps)
        if index is None:
            remove_temporaries(folder, {path})  # of one that was killed
            _write(path, photos, stamps)
            index = _index(path, stamps)
        return _mapped(photos, path, index)


def _stamps(files):
    """(photos, 16), as bytes."""
    known = {}  # shared files are looked at once
    for path in {path for of_photo in files for path in of_photo}:
        known[path] = stamp(path)
    joined = [b"".join(known[path] for path in of_photo) for of_photo in files]
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in joined)
    return np.frombuffer(digests, "uint8").reshape(len(files), 16)


def _index(path, stamps):
    """What was written about the photos; None if there is nothing, or if it is of other files."""
    try:
        with np.load(path / "index.npz") as file:
            index = dict(file)
    except OSError:
        return None
    return index if np.array_equal(index["stamps"], stamps) else None


def _write(path, photos, stamps):
    """Decode all photos."""
    logger.warning("%s photos are decoded into %s", f"{len(photos):,}", path)
    photos = photos.unkept()
    kind, position = None, 0
    offsets, sizes = np.full(len(photos), -1), np.zeros((len(photos), 2), int)
    with replacing(path) as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        temporary.mkdir()
        with _synced(temporary / "pixels") as file:
            for start in range(0, len(photos), AT_A_TIME):
                some = range(start, min(start + AT_A_TIME, len(photos)))
                for i, photo in zip(some, pool.map(lambda i: photos.first_good([i], np.ascontiguousarray), some)):
                    if photo is None:
                        continue
                    kind = kind or (photo.dtype, photo.shape[2])
                    if (photo.dtype, photo.shape[2]) != kind:  # it stays a photo that is read each time
                        continue
                    file.write(photo.data)  # a file that is mapped would take the process down where the disk is full
                    offsets[i], sizes[i] = position, photo.shape[:2]
                    position += photo.nbytes
        dtype, channels = kind or (np.dtype("uint8"), 1)
        facts = {"stamps": stamps, "offsets": offsets, "sizes": sizes, "dtype": dtype.str, "channels": channels}
        with _synced(temporary / "index.npz") as file:
            np.savez(file, **facts, bad=json.dumps(photos.bad))


@contextmanager
def _synced(path):
    """A file that is on the disk when it is closed: machines are cut off."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _mapped(photos, path, index):
    mapped = photos.with_keys(photos.keys)
    good = np.flatnonzero(index["offsets"] >= 0)
    if len(good):
        pixels = np.memmap(path / "pixels", "uint8", "r")
        mapped.store = Store.of(pixels, index["offsets"], index["sizes"], str(index["dtype"]), int(index["channels"]))
    mapped.bad |= photos.bad
    mapped.know(good.tolist(), json.loads(str(index["bad"])))
    return mapped
