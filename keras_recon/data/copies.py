"""Copies among photos: the same picture under another name, at another size or quality, darker or lighter."""

import logging
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_recon.data.files import stamp
from keras_recon.data.photos import read_photo
from keras_recon.images.files import BadImage, open_image
from keras_recon.utils.files import replacing

MAX_COMPARED = 20_000  # photos; beyond that, to compare all with all takes minutes and more
SIDE = 32  # of the thumbnails
# Of one minus the correlation of two thumbnails. Of 649 photos, copies at a quarter of the size or as JPEG of quality
# 30 had at most 0.015, and different ones at least 0.072. Photos of one scene, as of a production line, look alike and
# are no copies: where more than half of all, and more than 20, would be one group, the second threshold holds.
THRESHOLDS = (0.03, 0.001)
LARGE = 20  # photos in a group
LEAST_CONTRAST = 2.0  # of 255: a plain wall looks like any other
CHUNK = 256  # rows of the table of all pairs that are in memory
FILE = "thumbnails.npz"
logger = logging.getLogger(__name__)


def group_copies(paths: Sequence[str | Path], cache: str | Path | None = None) -> np.ndarray:
    """The number of the group of each image file, (files,): copies of one picture are a group.

    All thumbnails are compared, so that of more than 20,000 files, which a line in the log then says, none is.

    Args:
        paths: of the files; one that cannot be read is a group of its own.
        cache: folder that keeps the thumbnails of files, by path, size and time, for later calls; None for none.

    Example:

    >>> photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), "uint8")
    >>> for name, pixels in (("a.png", photo), ("b.png", photo[::-1]), ("c.jpg", photo)):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(pixels))
    >>> group_copies(["a.png", "b.png", "c.jpg"]).tolist()
    [0, 1, 0]
    """
    if len(paths) > MAX_COMPARED:
        logger.warning(
            "%s photos are not searched for copies, which could then be on both sides of the split: up to %s are",
            f"{len(paths):,}",
            f"{MAX_COMPARED:,}",
        )
        return np.arange(len(paths))
    images = thumbnails(paths, cache)
    centered = images.reshape(len(images), -1).astype("float32")
    centered -= centered.mean(axis=1, keepdims=True)
    contrasts = centered.std(axis=1)
    compared = contrasts >= LEAST_CONTRAST
    centered[~compared] = 0
    centered[compared] /= np.linalg.norm(centered[compared], axis=1, keepdims=True)
    for threshold in THRESHOLDS:
        groups = _components(centered, 1 - threshold)
        if np.bincount(groups).max() <= max(LARGE, len(groups) / 2):
            break
    return groups


def thumbnails(paths: Sequence[str | Path], cache: str | Path | None = None) -> np.ndarray:
    """Luma of image files, upright, uint8 (files, 32, 32): zeros for one that cannot be read."""
    known = _read(cache) if cache else {}
    keys = [stamp(path) for path in paths]
    missing = {key: path for key, path in zip(keys, paths) if key not in known}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the lock
        made = dict(zip(missing, pool.map(_thumbnail, missing.values())))
    known |= made
    if cache and made:
        with replacing(Path(cache, FILE)) as temporary:
            np.savez(temporary, keys=np.stack([np.frombuffer(key, "uint8") for key in known]), images=[*known.values()])
    return np.stack([known[key] for key in keys])


def _components(units, least):
    """Groups of vectors of length one, linked by scalar products of at least `least`."""
    groups = np.arange(len(units))
    for start in range(0, len(units), CHUNK):
        rows, columns = np.nonzero(units[start : start + CHUNK] @ units[start:].T >= least)
        links = (np.ones(len(rows), bool), (groups[start + rows], groups[start + columns]))
        groups = connected_components(coo_array(links, shape=(len(units),) * 2))[1][groups]
    return np.unique(groups, return_inverse=True)[1]


def _thumbnail(path):
    try:
        if Path(path).suffix.lower() in (".jpg", ".jpeg"):
            with open_image(path) as image:
                image.draft("L", (4 * SIDE, 4 * SIDE))  # decoded at a fraction of its size
                luma = ImageOps.exif_transpose(image).convert("L")
        else:
            luma = Image.fromarray(read_photo(path, 1)[..., 0])
    except BadImage:
        return np.zeros((SIDE, SIDE), "uint8")
    return np.asarray(luma.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _read(cache):
    """Thumbnails by key; none where there is no file, or a broken one."""
    try:
        with np.load(Path(cache, FILE)) as file:
            return dict(zip(map(bytes, file["keys"]), file["images"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
