import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path):
    """A temporary path beside `path`, same file type, that takes its name if the block ends without an error.

    A killed process never leaves half a file (or folder) under the final name. A folder that stands there is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        if path.is_dir():  # a folder cannot be replaced in one step: the old one makes way by renaming too
            old = path.with_name(f"{temporary.name}.old")
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict):
    """Write `content` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
