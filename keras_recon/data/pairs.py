"""The user's own pairs of degraded and clean photos: which files belong together, and whether they fit."""

import csv
import logging
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import numpy as np

from keras_recon.data.folders import role, subfolders, walk
from keras_recon.data.photos import Photos, read_photo
from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import to_float
from keras_recon.images.reading import image_size
from keras_recon.utils.tables import shown

SHOWN = 10  # names in a line of the log
CHECKED = 32  # pairs that are checked for shifts
SIDE = 256  # pixels of the middle of each
WORST = 5  # shifted pairs that are named
logger = logging.getLogger(__name__)


def is_table(data) -> bool:
    """Return whether a source is a CSV file."""
    return isinstance(data, (str, Path)) and str(data).lower().endswith(".csv") and os.path.isfile(data)


def is_paired(data, target=None) -> bool:
    """Return whether a source has pairs: a target, a CSV file, or folders `input` and `target` inside it or a part."""
    if target is not None or is_table(data):
        return True
    if not isinstance(data, (str, Path)) or not os.path.isdir(data):
        return False
    parts = [part for part in subfolders(data) if role(part.name)]
    return any(pair_folders(folder) for folder in (data, *parts))


def pair_folders(folder: str | Path, target: str | Path | None = None) -> tuple[Path, Path] | None:
    """Return the folders of the degraded and of the clean photos: `input` and `target` in a folder without a target."""
    if target is not None:
        return Path(folder), Path(target)
    inside = {part.name.lower(): part for part in subfolders(folder)}
    return (inside["input"], inside["target"]) if {"input", "target"} <= inside.keys() else None


def folder_pairs(folder: Path, target: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files that have the same path in two folders, except for the suffix, by the path of the clean file.

    The log names the files that are in one folder only.

    Example:
    >>> for name in ("input/a.jpg", "target/a.png", "target/b.png"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> pairs = folder_pairs(tmp_path / "input", tmp_path / "target")
    >>> [*pairs], [path.name for path in pairs["a.png"]]
    (['a.png'], ['a.jpg', 'a.png'])
    """
    degraded, clean = (_by_stem(part) for part in (folder, target))
    for part, other, stems, others in ((folder, target, degraded, clean), (target, folder, clean, degraded)):
        alone = [name for stem, name in stems.items() if stem not in others]
        if alone:
            names = ", ".join(map(shown, alone[:SHOWN])) + (", ..." if len(alone) > SHOWN else "")
            logger.warning("%s photos in %s have none of their name in %s: %s", f"{len(alone):,}", part, other, names)
    pairs = {name: (folder / degraded[stem], target / name) for stem, name in clean.items() if stem in degraded}
    if not pairs:
        raise ValueError(f"`data` and `target` must have photos of the same names. Received: {folder} and {target}")
    return pairs


def _by_stem(folder):
    """The image files of a folder, by their path without the suffix."""
    stems = {}
    for name in walk(folder)[0]:
        stem = PurePath(name).with_suffix("").as_posix()
        if stem in stems:
            files = f"{stems[stem]} and {name} in {folder}"
            raise ValueError(f"A photo must have one file, to be paired. Received: {files}")
        stems[stem] = name
    if not stems:
        raise ValueError(f"Found no image in {folder}")
    return stems


def table_pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files of a CSV file of two columns, degraded and clean, with paths relative to its folder."""
    expectation = "`data` must be a CSV file of two columns of paths. Received:"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{expectation} {path}: {error}") from error
    if rows and not any(os.path.isfile(path.parent / cell) for cell in rows[0]):  # titles
        rows = rows[1:]
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"{expectation} {path} with {sorted({len(row) for row in rows})} columns")
    pairs = {}
    for degraded, clean in rows:
        name = f"{clean} of {degraded}" if clean in pairs else clean  # a clean photo can have several degraded ones
        pairs[name] = (path.parent / degraded, path.parent / clean)
    return pairs


def paired_photos(pairs: dict[str, tuple[Path, Path]], channels: int, on_bad: str) -> Photos:
    """Return a source of pairs in which clean photos are f times as high and wide, for the f of most pairs.

    Pairs with another f are bad photos. The log names pairs whose photos are shifted against each other.

    Args:
        pairs: the files (degraded, clean) by the name of the pair.
        channels: 1, 3 or 4.
        on_bad: see `Photos`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = dict(zip(pairs, pool.map(lambda pair: tuple(map(_size, pair)), pairs.values())))
    factors = {name: _factor(*of_pair) for name, of_pair in sizes.items() if all(of_pair)}
    known = Counter(factor for factor in factors.values() if factor)
    if factors and not known:
        name = next(iter(factors))
        raise ValueError(
            f"`target` must be as large as `data`, or a multiple. Received: {_misfit(*sizes[name])}: {name}"
        )
    upscale = known.most_common(1)[0][0] if known else 1

    def read(name):
        degraded, clean = (read_photo(path, channels) for path in pairs[name])
        if _factor(degraded.shape[:2], clean.shape[:2]) != upscale:
            raise BadImage(_misfit(degraded.shape, clean.shape), name)
        return degraded, clean

    photos = Photos([*pairs], read, on_bad=on_bad, paths=pairs, is_paired=True, upscale=upscale)
    for name, factor in factors.items():
        if factor != upscale:
            photos.reject(name, _misfit(*sizes[name]))
    warn_of_shifts(photos)
    return photos


def _size(path):
    """(height, width) of an image file by its header, upright; None if it cannot be read."""
    try:
        return image_size(path)
    except BadImage:
        return None


def _factor(degraded, clean):
    """How many times as large the clean photo is; 0 if that is no integer."""
    factor = clean[0] // degraded[0]
    return factor if tuple(clean) == tuple(factor * side for side in degraded) else 0


def _misfit(degraded, clean):
    return f"the target has {clean[0]}x{clean[1]} pixels for {degraded[0]}x{degraded[1]} (height x width)"


def warn_of_shifts(photos: Photos):
    """Log the pairs whose photos are shifted against each other, of some pairs, evenly spread."""
    shifts = {}
    for i in np.linspace(0, len(photos), min(CHECKED, len(photos)), endpoint=False).astype(int):
        try:
            shifts[photos.keys[i]] = shift_of(*photos[i])
        except BadImage:  # logged when it is used
            continue
    shifted = sorted((name for name in shifts if any(shifts[name])), key=lambda name: -np.hypot(*shifts[name]))
    if shifted:
        worst = ", ".join(f"{shown(name)} by {shifts[name]}" for name in shifted[:WORST])
        text = "%d of %d pairs that were looked at are shifted, in pixels down and right: %s"
        logger.warning(text, len(shifted), len(shifts), worst)


def shift_of(degraded: np.ndarray, clean: np.ndarray) -> tuple[int, int]:
    """Return the shift (down, right) of the degraded photo in pixels, by the best correlation of the middles.

    Args:
        degraded: (height, width, channels).
        clean: of the same size, or a multiple of it.

    Example:
    >>> photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), "uint8")
    >>> shift_of(255 - np.roll(photo, (3, -2), axis=(0, 1)), photo)
    (3, -2)
    """
    from skimage.registration import phase_cross_correlation  # slow to import

    factor = clean.shape[0] // degraded.shape[0]
    height, width = (min(SIDE, side) for side in degraded.shape[:2])
    top, left = ((side - part) // 2 for side, part in zip(degraded.shape, (height, width)))
    planes = []
    for image, scale in ((degraded, 1), (clean, factor)):
        part = image[top * scale : (top + height) * scale, left * scale : (left + width) * scale, :3]
        plane = to_float(part).mean(axis=2).reshape(height, scale, width, scale).mean(axis=(1, 3))
        # The window fades the borders out, which would correlate too.
        planes.append((plane - plane.mean()) * np.hanning(height)[:, None] * np.hanning(width))
    if not all(np.any(plane) for plane in planes):
        return 0, 0
    shift, _, _ = phase_cross_correlation(*planes, normalization=None)
    return tuple(int(side) for side in shift)
