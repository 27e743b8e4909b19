"""The photos that the presets were trained on, all under CC0-1.0, from clones of two public repositories.

    git clone https://github.com/BuddiesOfBudgie/budgie-backgrounds
    git -C budgie-backgrounds fetch origin "refs/pull/*/head:refs/pull/*"
    git clone https://github.com/alexeygrigorev/clothing-dataset-small
    python benchmarks/clean_photos.py budgie-backgrounds clothing-dataset-small --output photos

24 backgrounds, plain renderings left out, from the whole history, as some were removed later, others stored anew with
more loss, and four only proposed; and 60 clothes of each class of the training part, drawn at random. All are halved,
and so are the losses of their JPEG files.
"""

import io
import random
import subprocess
from itertools import groupby
from pathlib import Path

from arguments import Parser
from PIL import Image

BACKGROUNDS = """beacon-street-sunset blue-periwinkle budgie-branch canyon-wren casa-mila colorful-wall
dragonfly-on-lavender high-trestle-trail kitten-on-lawn lake-sherburne motherboard-circuits oakland-zoo-otters
ocean-waves orange-hallway perched-osprey piazza-gae-aulenti roman-colosseum san-francisco-skyline serene
singaporean-cityscape solaris-grapes tea-gardens the-spices-of-life ufo-galaxy"""
MAX_BYTES = 3_000_000  # of a background; one was replaced by a smaller version
OF_EACH_CLASS = 60


def git(clone: Path, *arguments: str, **kwargs) -> bytes:
    return subprocess.run(["git", "-C", clone, *arguments], check=True, capture_output=True, **kwargs).stdout


def backgrounds(clone: Path) -> dict[str, bytes]:
    """The largest file of at most MAX_BYTES that the history has of each name."""
    paths = [f"backgrounds/{name}.jpg" for name in BACKGROUNDS.split()]
    objects = git(clone, "rev-list", "--objects", "--all", "--", *paths).decode().splitlines()
    versions = dict(line.split() for line in objects if line.endswith(".jpg"))
    sizes = git(clone, "cat-file", "--batch-check=%(objectsize)", input="\n".join(versions).encode()).split()
    by_size = sorted((int(size), path, version) for size, (version, path) in zip(sizes, versions.items()))
    largest = {path: version for size, path, version in by_size if size <= MAX_BYTES}  # the last of a path
    if missing := set(paths) - largest.keys():
        raise ValueError(f"its history has no {', '.join(sorted(missing))}")
    return {Path(path).name: git(clone, "cat-file", "blob", version) for path, version in largest.items()}


def clothes(clone: Path) -> dict[str, bytes]:
    """So many files of each class, named by the class and the first digits of their names."""
    drawn = random.Random(0)
    files = git(clone, "ls-tree", "-r", "--name-only", "HEAD", "train").decode().split()
    chosen = [
        path
        for _, of_class in groupby(sorted(files), key=lambda path: Path(path).parent)
        for path in drawn.sample([*of_class], OF_EACH_CLASS)
    ]
    names = (f"{Path(path).parent.name}_{Path(path).name[:8]}.jpg" for path in chosen)
    return {name: git(clone, "show", f"HEAD:{path}") for name, path in zip(names, chosen)}


def halved(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as photo:
        size = [side // 2 for side in photo.size]
        return photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("backgrounds", type=Path, metavar="BACKGROUNDS", help="clone of BuddiesOfBudgie/budgie-backgrounds")
    add("clothes", type=Path, metavar="CLOTHES", help="clone of alexeygrigorev/clothing-dataset-small")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the photos")
    args = parser.parse_args(argv)
    for name, files_of in (("backgrounds", backgrounds), ("clothes", clothes)):
        try:
            files = files_of(getattr(args, name))
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            detail = getattr(error, "stderr", b"") or str(error).encode()
            parser.error(f"{name.upper()} must be a clone of its repository ({detail.decode().strip()})")
        folder = args.output / name
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, file in files.items():
            halved(file).save(folder / file_name, quality=96, subsampling="4:4:4")
        print(f"{len(files)} photos in {folder}")


if __name__ == "__main__":
    main()
