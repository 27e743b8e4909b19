"""Which photos are for training and which for validation: no photo, nor a copy of it, is in both.

Copies are the same picture under another name, at another size or quality, darker or lighter.
"""

import hashlib
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_recon.data.folders import stamp
from keras_recon.data.photos import Photos, read_photo
from keras_recon.images.decoding import BadImage, open_image
from keras_recon.utils.files import replacing
from keras_recon.utils.tables import shown

MAX_COMPARED = 20_000  # photos; comparing more of them with each other takes minutes
SIDE = 32  # of the thumbnails
# Of one minus the correlation of two thumbnails. Of 649 photos, copies at a quarter of the size or as JPEG of quality
# 30 had at most 0.015, and different photos at least 0.072. Photos of one scene, as from a production line, are
# similar, but no copies: if one group had more than half of all photos, and more than 20, the second threshold is used.
THRESHOLDS = (0.03, 0.001)
LARGE = 20  # photos in a group
LEAST_CONTRAST = 2.0  # of 255: plain walls look alike
CHUNK = 256  # rows of the table of all pairs that are in memory
FILE = "thumbnails.npz"
MAX_LEFT_OUT = 1 / 3  # of the photos for training: a split with more copies is intended
logger = logging.getLogger(__name__)


def group_copies(paths: Sequence[str | Path], cache: str | Path | None = None) -> np.ndarray:
    """Return the number of the group of each image file, (files,): copies of one picture are a group.

    All thumbnails are compared with each other. More than 20,000 files are not compared; the log says so.

    Args:
        paths: of the files; a file that cannot be read is a group by itself.
        cache: folder that keeps the thumbnails for later calls, by path, size and time of the files; None for none.

    Example:
    >>> photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), "uint8")
    >>> for name, pixels in (("a.png", photo), ("b.png", photo[::-1]), ("c.jpg", photo)):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(pixels))
    >>> group_copies(["a.png", "b.png", "c.jpg"]).tolist()
    [0, 1, 0]
    """
    if len(paths) > MAX_COMPARED:
        text = f"{len(paths):,} photos are not searched for copies, which could then be on both sides of the split: "
        logger.warning("%sup to %s are", text, f"{MAX_COMPARED:,}")
        return np.arange(len(paths))
    images = thumbnails(paths, cache)
    centered = images.reshape(len(images), -1).astype("float32")
    centered -= centered.mean(axis=1, keepdims=True)
    compared = centered.std(axis=1) >= LEAST_CONTRAST
    centered[~compared] = 0
    centered[compared] /= np.linalg.norm(centered[compared], axis=1, keepdims=True)
    for threshold in THRESHOLDS:
        groups = _components(centered, 1 - threshold)
        if np.bincount(groups).max() <= max(LARGE, len(groups) / 2):
            break
    return groups


def thumbnails(paths: Sequence[str | Path], cache: str | Path | None = None) -> np.ndarray:
    """Return the luma of image files, upright, uint8 (files, 32, 32); zeros for a file that cannot be read."""
    known = _read(cache) if cache else {}
    keys = [stamp(path) for path in paths]
    missing = {key: path for key, path in zip(keys, paths) if key not in known}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the global interpreter lock
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
    """The thumbnails in a folder by key; an empty dictionary if there is no file, or a corrupt one."""
    try:
        with np.load(Path(cache, FILE)) as file:
            return dict(zip(map(bytes, file["keys"]), file["images"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def split(photos: Photos, cache: str | Path | None = None, by_file_name: bool = False) -> tuple[Photos, Photos]:
    """Divide photos that are not divided yet.

    One group of copies in ten, see `group_copies`, and at least one group, is for validation. A hash of the name of a
    group chooses it, so that a new file moves no other file, or few if there are few. A single photo is cut in two
    halves, one for training and one for validation. The log reports copies and halves.

    Args:
        photos: all photos, read from files.
        cache: see `group_copies`.
        by_file_name: whether the file name is hashed instead of the key, which is a whole path.
    """
    groups = group_copies([photos.paths[key][-1] for key in photos.keys], cache)
    _report_copies(photos.keys, groups)
    if groups.max() == 0:
        text = "there is but one photo, %s: half of it is for training, half for validation"
        logger.warning(text, shown(photos.keys[0]))
        return _half(photos, 0), _half(photos, 1)
    held = held_out([Path(key).name for key in photos.keys] if by_file_name else photos.keys, groups.tolist())
    training, validation = ([key for key, there in zip(photos.keys, held) if there == part] for part in (False, True))
    bad = {key: photos.bad[key] for key in validation if key in photos.bad}
    others = {key: reason for key, reason in photos.bad.items() if key not in bad}
    return photos.subset(training, others), photos.subset(validation, bad)


def separate(training: Photos, validation: Photos, cache: str | Path | None = None) -> tuple[Photos, Photos]:
    """Leave the photos for training out that are, or have copies, among the photos for validation.

    They stay if they are more than a third of the photos for training. The log reports both.
    """
    if training.scales != validation.scales:
        words = (f"pairs of {p.upscale} times the size" if p.is_paired else "photos" for p in (training, validation))
        raise ValueError(
            f"`data` and `val_data` must both be photos, or pairs of one size. Received: {' and '.join(words)}"
        )
    if not (training.paths and validation.paths):
        return training, validation
    count = len(training)
    paths = [photos.paths[key][-1] for photos in (training, validation) for key in photos.keys]
    groups = group_copies(paths, cache)
    leaked = np.isin(groups[:count], groups[count:])
    if not leaked.any():
        return training, validation
    first = leaked.argmax()
    twin = validation.keys[(groups[count:] == groups[first]).argmax()]
    text = f"{leaked.sum():,} of {count:,} photos for training are copies of photos for validation, such as "
    text += f"{shown(training.keys[first])} of {shown(twin)}"
    if leaked.sum() > MAX_LEFT_OUT * count:
        logger.warning("%s: the validation will look better than it is", text)
        return training, validation
    logger.warning("%s: they are left out", text)
    return training.subset([key for key, is_copy in zip(training.keys, leaked) if not is_copy]), validation


def held_out(names: Sequence[str], groups: Sequence[int]) -> list[bool]:
    """Choose the photos for validation: one group in ten by a hash, and at least one group on each side.

    The hash of a group is that of its shortest name. Copies have longer names as a rule, so that a new copy moves
    nothing. A group that has more than half of the photos is for training.

    Args:
        names: of the photos.
        groups: the number of each photo's group; there are at least two groups.

    Returns:
        Whether each photo is for validation.

    Example:
    >>> held_out(["a.jpg", "a (1).jpg", "b.jpg"], groups=[0, 0, 1])
    [False, False, True]
    """
    counts, first = Counter(groups), {}
    for name, group in zip(names, groups):
        first[group] = min(first.get(group, name), name, key=lambda name: (len(name), name))
    ranked = sorted(first, key=lambda group: _rank(first[group]))
    small = [group for group in ranked if 2 * counts[group] <= len(names)]
    chosen = [group for group in small if _rank(first[group])[0] == 0] or small[:1]
    chosen = {*chosen} if len(chosen) < len(ranked) else {*chosen[:-1]}
    return [group in chosen for group in groups]


def _rank(name: str) -> tuple[int, int]:
    """A hash of a photo's name as (0 to 9, a number); names with 0 are for validation."""
    number = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4], "big")
    return number % 10, number


def _report_copies(keys, groups):
    sizes = np.bincount(groups)[groups]
    if sizes.max() > 1:
        group = groups[(sizes > 1).argmax()]
        alike = " and ".join([shown(key) for key, of_key in zip(keys, groups) if of_key == group][:2])
        count = f"{(sizes > 1).sum():,} of {len(groups):,}"
        logger.warning("%s photos look like copies, such as %s: copies are on one side of the split", count, alike)


def _half(photos, index):
    """The left or right halves of photos, or the upper or lower halves of tall photos."""
    keys = {f"{key}, {('first', 'second')[index]} half": key for key in photos.keys}

    def read(name):
        photo = photos.read(keys[name])
        parts = photo if photos.is_paired else (photo,)
        axis = int(parts[0].shape[1] >= parts[0].shape[0])
        side = parts[0].shape[axis]
        if side < 2:
            raise BadImage("a pixel has no halves", keys[name])
        cuts = [part.shape[axis] // side * ((side + 1) // 2) for part in parts]
        halves = tuple(np.split(part, [cut], axis)[index] for part, cut in zip(parts, cuts))
        return halves if photos.is_paired else halves[0]

    paths = {name: photos.paths[key] for name, key in keys.items()}
    return photos.derive(keys=[*keys], read=read, paths=paths, file_channels=None, on_bad=photos.on_bad.policy)
