"""Folders of images: their files, and the parts of a data set that their names announce."""

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from keras_recon.images import SUFFIXES

# The usual names of the parts of a data set, in lower case.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LOW_RESOLUTION = "lr"  # DIV2K has each photo a second time in folders with this word
logger = logging.getLogger(__name__)


def walk(folder: Path) -> tuple[list[str], dict[str, str]]:
    """List the image files below a folder.

    Returns:
        (names, unreadable): the sorted paths of the files, relative to the folder, and the reason for each folder or
        file that cannot be read. Names that start with a dot are left out.
    """
    names, unreadable = [], {}

    def record(error):
        unreadable[os.path.relpath(error.filename, folder)] = error.strerror

    for root, folders, files in os.walk(folder, onerror=record):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES:
                path = os.path.join(root, file)
                name = os.path.relpath(path, folder)
                if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would block
                    unreadable[name] = "is no regular file"
                else:
                    names.append(name)
    return sorted(names), unreadable


def subfolders(folder: str | Path) -> list[Path]:
    """List the folders in a folder, links included; a folder that cannot be read has none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    # Unlike pathlib, `os.path.isdir` returns False for circular links.
    return [Path(folder, name) for name in names if os.path.isdir(os.path.join(folder, name))]


def stamp(path: str | Path) -> bytes:
    """Return a hash of 16 bytes of a file's real path, size and modification time."""
    try:
        facts = os.stat(path)
    except OSError:  # a broken link
        return hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
    text = b"%s\0%d\0%d" % (os.fsencode(os.path.realpath(path)), facts.st_size, facts.st_mtime_ns)
    return hashlib.blake2b(text, digest_size=16).digest()


def role(name: str) -> str | None:
    """Return the part of a data set that a folder's name announces: "train", "val", "test" or None.

    Only whole words count: `Val`, `train2017`, `DIV2K_valid_HR`.

    Example:
    >>> role("DIV2K_valid_HR"), role("trains"), role("train-val")
    ('val', None, None)
    """
    roles = {ROLES[word] for word in _words(name) if word in ROLES}
    return roles.pop() if len(roles) == 1 else None


def split_folders(folder: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """Find the subfolders for training and for validation.

    A folder `test` is for validation if there is no other folder for it, and is left out otherwise. The log names the
    folders that are left out.

    Args:
        folder: a data set.
        names: paths of its photos, relative to the folder.

    Returns:
        The names of the two subfolders; None if no subfolder has such a name.

    Raises:
        ValueError: the names announce a split, but an ambiguous one.

    Example:
    >>> for name in ("Train/a.png", "DIV2K_valid_HR/b.png"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> split_folders(tmp_path, ["Train/a.png", "DIV2K_valid_HR/b.png"])
    ('Train', 'DIV2K_valid_HR')
    """
    parts = {part.name for part in subfolders(folder) if role(part.name)}  # `names` have none of linked folders
    others = {PurePath(name).parts[0] if os.sep in name else "photos outside of folders" for name in names} - parts
    small = {part for part in parts if LOW_RESOLUTION in _words(part)}
    if {role(part) for part in parts - small} >= {"train", "val"}:
        others |= small
        parts -= small
    train, val, test = ([part for part in parts if role(part) == kind] for kind in ("train", "val", "test"))
    if len(train) == 1 and (len(val) == 1 or (len(test) == 1 and not val)):
        if unused := sorted(others.union(test if val else [])):
            logger.warning(
                "%s are left out: %s has the folders %s and %s", ", ".join(unused), folder, *train, *val or test
            )
        if not val:
            logger.warning("%s has no folder for validation: the photos in %s are for it", folder, *test)
        return train[0], (val or test)[0]
    announced = parts.union(part for name in names for part in PurePath(name).parts[:-1] if role(part))
    if len({role(part) for part in announced}) > 1 or (parts and (others or len(parts) > 1)):
        raise ValueError(
            f"The folders {', '.join(sorted(announced))} in {folder} look like a split, but not like one folder for "
            "training and one for validation. Pass the folder for training as `data` and the folder for validation as "
            "`val_data`, or rename the folders."
        )
    return None


def _words(name):
    return re.findall("[a-z]+", name.lower())
