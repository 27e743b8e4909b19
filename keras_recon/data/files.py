import hashlib
import os
from pathlib import Path

EXTENSIONS = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif"}


def walk(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The image files below a folder, sorted, and what cannot be searched or read there, with the reason."""
    names, barred = [], {}

    def bar(error):
        barred[os.path.relpath(error.filename, folder)] = error.strerror

    for root, folders, files in os.walk(folder, onerror=bar):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in EXTENSIONS:
                path = os.path.join(root, file)
                name = os.path.relpath(path, folder)
                if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe would wait for its writer
                    barred[name] = "is no regular file"
                else:
                    names.append(name)
    return sorted(names), barred


def subfolders(folder: str | Path) -> list[Path]:
    """The folders in a folder, and links to folders; none where it cannot be searched."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    # `os.path.isdir` raises no errors for links that lead in a circle.
    return [Path(folder, name) for name in names if os.path.isdir(os.path.join(folder, name))]


def stamp(path: str | Path) -> bytes:
    """16 bytes that stand for a file as it is now: its real path, its size and the time of its last change."""
    try:
        facts = os.stat(path)
    except OSError:  # a link that leads nowhere
        return hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
    text = b"%s\0%d\0%d" % (os.fsencode(os.path.realpath(path)), facts.st_size, facts.st_mtime_ns)
    return hashlib.blake2b(text, digest_size=16).digest()
