"""Which photos are for training and which for validation."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np

from keras_recon.data.copies import group_copies
from keras_recon.data.files import subfolders
from keras_recon.data.photos import Photos
from keras_recon.images.files import BadImage
from keras_recon.utils.tables import shown

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
