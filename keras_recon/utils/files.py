"""Atomic writes, JSON, and the removal of temporary files."""

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path

MAX_NAME = 255 - 40  # bytes; the rest is for the process id before and suffixes behind a temporary name


@contextmanager
def replacing(path: str | Path):
    """Give a temporary path in the same folder, which is renamed to `path` if the block ends without an error.

    A killed process never leaves an incomplete file or folder under the final name, and a full disk leaves the old one.

    Args:
        path: path of a file or a folder, which is replaced if it exists.

    Yields:
        A path with the same suffix.

    Raises:
        OSError: if the file cannot be written; the message names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{_short(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_file():  # flushed before the renaming, because machines lose power too
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        if path.is_dir():  # a folder cannot be replaced in one step: the old one is renamed first
            old = path.with_name(f"{temporary.name}.old")
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"Cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif temporary.exists():
            temporary.unlink()


def _short(path):
    """Return the name, or a hash of it with the same suffix if it is too long: file systems allow 255 bytes."""
    if len(os.fsencode(path.name)) <= MAX_NAME:
        return path.name
    return hashlib.sha256(os.fsencode(path.name)).hexdigest() + path.suffix[:16]


def save_weights(model, path: str | Path):
    """Write the weights and the optimizer state of a Keras model to a `.weights.h5` file, atomically.

    HDF5 ends the process if the disk fills while it writes. Keras writes `.keras` files, which contain the same
    `.weights.h5` file, through memory, so that a full disk raises an OSError.
    """
    import keras  # takes seconds

    with replacing(path) as temporary:
        archive = temporary.with_name(f"{temporary.name}.keras")
        try:
            keras.Model.save(model, archive)
            with zipfile.ZipFile(archive) as members, open(temporary, "wb") as file:
                shutil.copyfileobj(members.open("model.weights.h5"), file)
        except NotImplementedError:  # a class without `get_config`
            keras.Model.save_weights(model, temporary)
        finally:
            archive.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict):
    """Write `content` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(to_json(content, indent=2) + "\n")


def to_json(content, indent: int | None = None) -> str:
    """Serialise as `json.dumps` does, with null for numbers that are not finite, which JSON lacks."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content):
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def remove_temporaries(folder: Path, of: set[Path] | None = None):
    """Remove temporary files of `replacing` that killed processes left in a folder and its subfolders.

    No process may be writing there.

    Args:
        folder: folder to search.
        of: the final paths whose temporary files are removed; None for all.
    """
    names = None if of is None else {path.with_name(_short(path)) for path in of}
    for path in list(folder.rglob(".*")):
        match = re.match(r"\.\d+\.", path.name)
        if not match or (names is not None and path.with_name(path.name[match.end() :]) not in names):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
