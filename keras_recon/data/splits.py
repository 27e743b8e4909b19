"""Copies among photos: the same picture under another name, at another size or quality, darker or lighter."""

import hashlib
import logging
import os
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_recon.data.files import stamp, subfolders
from keras_recon.data.photos import Photos, read_photo
from keras_recon.images.decoding import BadImage, open_image
from keras_recon.utils.files import replacing
from keras_recon.utils.tables import shown

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


# The usual words for a part of a data set, in lower case.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
DEGRADED = "lr"  # low resolution: DIV2K has each photo again in such folders
MAX_LEFT_OUT = 1 / 3  # of the photos of a split that is given: of more, it is meant so
logger = logging.getLogger(__name__)


def role(name: str) -> str | None:
    """What a folder's name says that it is for: train, val, test, or None.

    Whole words count, whatever stands around them: `Val`, `train2017`, `DIV2K_valid_HR`.

    Example:

    >>> role("DIV2K_valid_HR"), role("trains"), role("train-val")
    ('val', None, None)
    """
    roles = {ROLES[word] for word in _words(name) if word in ROLES}
    return roles.pop() if len(roles) == 1 else None


def split_folders(folder: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """The subfolders for training and for validation; None where there is no split. The log tells what is left out.

    `test` is for validation where there is no folder for it, and is left out otherwise.

    Args:
        folder: a data set.
        names: paths of its photos inside it.

    Raises:
        ValueError: it looks like a split, but cannot be told.

    Example:

    >>> for name in ("Train/a.png", "DIV2K_valid_HR/b.png"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> split_folders(tmp_path, ["Train/a.png", "DIV2K_valid_HR/b.png"])
    ('Train', 'DIV2K_valid_HR')
    """
    # Links to folders too, which have no names here.
    parts = {part.name for part in subfolders(folder) if role(part.name)}
    others = {PurePath(name).parts[0] if os.sep in name else "photos outside of folders" for name in names} - parts
    degraded = {part for part in parts if DEGRADED in _words(part)}
    if {role(part) for part in parts - degraded} >= {"train", "val"}:
        others |= degraded
        parts -= degraded
    train, val, test = ([part for part in parts if role(part) == kind] for kind in ("train", "val", "test"))
    if len(train) == 1 and (len(val) == 1 or (len(test) == 1 and not val)):
        if unused := sorted(others.union(test if val else [])):
            logger.warning(
                "%s are left out: %s has the folders %s and %s", ", ".join(unused), folder, *train, *val or test
            )
        if not val:
            logger.warning("%s has no folder for validation: the photos in %s are for it", folder, *test)
        return train[0], (val or test)[0]
    looks = parts.union(part for name in names for part in PurePath(name).parts[:-1] if role(part))
    if len({role(part) for part in looks}) > 1 or (parts and (others or len(parts) > 1)):
        raise ValueError(
            f"The folders {', '.join(sorted(looks))} in {folder} look like a split, but not like one folder for "
            "training and one for validation: name the folder for training as `data` (--data) and that for validation "
            "as `val_data` (--val-data), or rename them"
        )
    return None


def split(photos: Photos, cache: str | Path | None = None, names: Sequence[str] | None = None) -> tuple[Photos, Photos]:
    """Training and validation photos of files that nothing else divides.

    One group of copies in ten, see `group_copies`, is for validation, chosen by a hash of its name, and at least one:
    adding a file moves no other, or few among few. Of a single photo, one half is for training, the other for
    validation. The log tells of copies and of halves.

    Args:
        photos: all of them.
        cache: see `group_copies`.
        names: what is hashed in place of the keys.
    """
    groups = group_copies([photos.paths[key] for key in photos.keys], cache)
    _tell_of_copies(photos.keys, groups)
    if groups.max() == 0:
        logger.warning(
            "there is but one photo, %s: half of it is for training, half for validation", shown(photos.keys[0])
        )
        return _half(photos, 0), _half(photos, 1)
    held = held_out(names or photos.keys, groups.tolist())
    training, validation = (
        photos.with_keys([key for key, there in zip(photos.keys, held) if there == part]) for part in (False, True)
    )
    training.bad |= photos.bad  # what could not be searched
    return training, validation


def separate(training: Photos, validation: Photos, cache: str | Path | None = None) -> tuple[Photos, Photos]:
    """The two parts, without those photos for training that are, or have copies, among those for validation.

    Where that would be more than a third of them, they stay. The log tells of both.
    """
    if not (training.paths and validation.paths):
        return training, validation
    count = len(training)
    groups = group_copies([photos.paths[key] for photos in (training, validation) for key in photos.keys], cache)
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
    kept = training.with_keys([key for key, is_copy in zip(training.keys, leaked) if not is_copy])
    kept.bad |= training.bad
    return kept, validation


def held_out(names: Sequence[str], groups: Sequence[int]) -> list[bool]:
    """Which photos are for validation: one group in ten, chosen by a hash, and at least one group on each side.

    A group stands and falls by its member of the shortest name, so that copies that are added, which have longer names,
    move nothing. One that has more than half of the photos is for training.

    Args:
        names: of the photos.
        groups: the number of each photo's group; of at least two groups.

    Example:

    >>> held_out(["a.jpg", "a (1).jpg", "b.jpg"], groups=[0, 0, 1])
    [False, False, True]
    """
    counts, first = Counter(groups), {}
    for name, group in zip(names, groups):
        first[group] = min(first.get(group, name), name, key=lambda name: (len(name), name))
    ranked = sorted(first, key=lambda group: rank(first[group]))
    small = [group for group in ranked if 2 * counts[group] <= len(names)]
    chosen = [group for group in small if rank(first[group])[0] == 0] or small[:1]
    chosen = {*chosen} if len(chosen) < len(ranked) else {*chosen[:-1]}
    return [group in chosen for group in groups]


def rank(name: str) -> tuple[int, int]:
    """A hash of a photo's name as (0 to 9, a number); those with 0 are for validation."""
    number = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4], "big")
    return number % 10, number


def _tell_of_copies(keys, groups):
    sizes = np.bincount(groups)[groups]
    if sizes.max() > 1:
        group = groups[(sizes > 1).argmax()]
        alike = [key for key, of_key in zip(keys, groups) if of_key == group][:2]
        logger.warning(
            "%s of %s photos look like copies, such as %s: copies are on one side of the split",
            f"{(sizes > 1).sum():,}",
            f"{len(groups):,}",
            " and ".join(map(shown, alike)),
        )


def _half(photos, index):
    """The left or right halves of photos, of tall ones the upper or lower."""
    keys = {f"{key}, {('first', 'second')[index]} half": key for key in photos.keys}

    def read(name):
        photo = photos.read(keys[name])
        axis = int(photo.shape[1] >= photo.shape[0])
        if photo.shape[axis] < 2:
            raise BadImage("a pixel has no halves", keys[name])
        return np.array_split(photo, 2, axis)[index]

    half = photos.with_keys([*keys], read)
    half.paths = {name: photos.paths[key] for name, key in keys.items()}
    half.files = lambda name: photos.files(keys[name])
    return half


def _words(name):
    return re.findall("[a-z]+", name.lower())
