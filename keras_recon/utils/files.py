import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path):
    """A temporary path beside `path`, same file type, that takes its name if the block ends without an error.

    A killed process never leaves half a file (or folder) under the final name, and a full disk leaves what was there. A
    folder that stands there is replaced. An OSError names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_file():  # on the disk before it has its name: machines are cut off, too
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        if path.is_dir():  # a folder cannot be replaced in one step: the old one makes way by renaming too
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


def write_json(path: str | Path, content: dict):
    """Write `content` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def remove_temporaries(folder: Path, of: set[Path] | None = None):
    """Remove what killed processes left of `replacing` in a folder and its subfolders; none may write there now.

    Where the folder has files of others, `of` holds the paths that were to be written: no other temporary is removed.
    """
    for path in list(folder.rglob(".*")):
        match = re.match(r"\.\d+\.", path.name)
        if not match or (of is not None and path.with_name(path.name[match.end() :]) not in of):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
