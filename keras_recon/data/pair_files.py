"""The user's own degraded and clean photos, file by file."""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from keras_recon.data.alignment import tell_of_shifts
from keras_recon.data.files import subfolders, walk
from keras_recon.data.paired import PairedPhotos, misfit
from keras_recon.data.photos import Photos
from keras_recon.data.splits import role
from keras_recon.images.files import BadImage
from keras_recon.images.reading import image_size
from keras_recon.utils.tables import shown

SHOWN = 10  # names in a line of the log
logger = logging.getLogger(__name__)


def is_paired(data, target=None) -> bool:
    """Whether a source has pairs: a target, a CSV file, or folders `input` and `target`, also in those of a split."""
    if target is not None or _is_table(data):
        return True
    if not isinstance(data, (str, Path)) or not os.path.isdir(data):
        return False
    parts = [part for part in subfolders(data) if role(part.name)]
    return any(pair_folders(folder) for folder in (data, *parts))


def pair_folders(folder: str | Path, target: str | Path | None = None) -> tuple[Path, Path] | None:
    """The folders of the degraded and of the clean photos: `input` and `target` inside, if `target` is not given."""
    if target is not None:
        return Path(folder), Path(target)
    inside = {part.name.lower(): part for part in subfolders(folder)}
    return (inside["input"], inside["target"]) if {"input", "target"} <= inside.keys() else None


def find_pairs(data, target=None) -> dict[str, tuple[Path, Path]] | None:
    """The files of a source of pairs, see `folder_pairs` and `table_pairs`; None where it has photos alone."""
    if not is_paired(data, target):
        return None
    if _is_table(data):
        return table_pairs(Path(data))
    for folder in (data, target):
        if not isinstance(folder, (str, Path, type(None))) or (folder is not None and not os.path.isdir(folder)):
            raise ValueError(
                f"`data` and `target` must be folders of images. Received: data={data!r}, target={target!r}"
            )
    folders = pair_folders(data, target)
    return folders and folder_pairs(*folders)


def folder_pairs(folder: Path, target: Path) -> dict[str, tuple[Path, Path]]:
    """The files of two folders that have the same path inside them, but for its suffix, by that of the clean one.

    The log lists those that are in one folder only.

    Example:

    >>> for name in ("input/a.jpg", "target/a.png", "target/b.png"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> pairs = folder_pairs(tmp_path / "input", tmp_path / "target")
    >>> [*pairs], [path.name for path in pairs["a.png"]]
    (['a.png'], ['a.jpg', 'a.png'])
    """
    degraded, clean = (_by_stem(part) for part in (folder, target))
    for part, other, stems in ((folder, target, degraded), (target, folder, clean)):
        alone = [stems[stem] for stem in stems if stem not in (clean if part == folder else degraded)]
        if alone:
            names = ", ".join(map(shown, alone[:SHOWN])) + (", ..." if len(alone) > SHOWN else "")
            logger.warning("%s photos in %s have none of their name in %s: %s", f"{len(alone):,}", part, other, names)
    pairs = {name: (folder / degraded[stem], target / name) for stem, name in clean.items() if stem in degraded}
    if not pairs:
        raise ValueError(f"`data` and `target` must have photos of the same names. Received: {folder} and {target}")
    return pairs


def table_pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    """The files of a CSV file of two columns, degraded and clean, whose paths begin at its folder."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"`data` must be a CSV file of two columns of paths. Received: {path}: {error}") from error
    if rows and not any(os.path.isfile(path.parent / cell) for cell in rows[0]):  # titles
        rows = rows[1:]
    if not rows or any(len(row) != 2 for row in rows):
        lengths = sorted({len(row) for row in rows})
        raise ValueError(f"`data` must be a CSV file of two columns of paths. Received: {path} with {lengths} columns")
    pairs = {}
    for degraded, clean in rows:
        name = f"{clean} of {degraded}" if clean in pairs else clean  # a clean photo may be degraded in several ways
        pairs[name] = (path.parent / degraded, path.parent / clean)
    return pairs


def paired_photos(pairs: dict[str, tuple[Path, Path]], channels: int, on_bad: str) -> PairedPhotos:
    """Photos of pairs whose sizes fit: clean photos are f times as high and wide, for the f of most pairs.

    Others are bad photos. The log tells of pairs that are shifted against each other.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = dict(zip(pairs, pool.map(lambda pair: tuple(map(_size, pair)), pairs.values())))
    factors = {name: _factor(*of_pair) for name, of_pair in sizes.items() if all(of_pair)}
    known = Counter(factor for factor in factors.values() if factor)
    if factors and not known:
        name = next(iter(factors))
        raise ValueError(
            f"`target` must be as large as `data`, or a multiple. Received: {misfit(*sizes[name])}: {name}"
        )
    upscale = known.most_common(1)[0][0] if known else 1
    photos = PairedPhotos(pairs, channels, upscale, on_bad)
    for name, factor in factors.items():
        if factor != upscale:
            photos.reject(name, misfit(*sizes[name]))
    tell_of_shifts(photos)
    return photos


def alike(parts: Iterable[Photos]) -> list[Photos]:
    """The parts for training and for validation, if both are photos alone or pairs of one size."""
    training, validation = parts = [*parts]
    if training.factors != validation.factors:
        words = [f"pairs of {part.factors[1]} times the size" if part.factors[1:] else "photos" for part in parts]
        raise ValueError(
            f"`data` and `val_data` must both be photos, or pairs of one size. Received: {' and '.join(words)}"
        )
    return parts


def _is_table(data):
    return isinstance(data, (str, Path)) and str(data).lower().endswith(".csv") and os.path.isfile(data)


def _by_stem(folder):
    """The image files of a folder, by their path without the suffix."""
    names, stems = walk(folder)[0], {}
    for name in names:
        stem = PurePath(name).with_suffix("").as_posix()
        if stem in stems:
            raise ValueError(
                f"A photo must have one file, to be paired. Received: {stems[stem]} and {name} in {folder}"
            )
        stems[stem] = name
    if not stems:
        raise ValueError(f"Found no image in {folder}")
    return stems


def _size(path):
    """(height, width) of an image file by its header, upright; None for one that cannot be read."""
    try:
        return image_size(path)
    except BadImage:
        return None


def _factor(degraded, clean):
    """How many times as large the clean photo is; 0 where that is no integer."""
    factor = clean[0] // degraded[0]
    return factor if tuple(clean) == tuple(factor * side for side in degraded) else 0
