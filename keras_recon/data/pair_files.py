"""The user's own degraded and clean photos, file by file."""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import numpy as np

from keras_recon.data.files import subfolders, walk
from keras_recon.data.photos import Photos, read_photo, resized
from keras_recon.data.splits import role
from keras_recon.images.decoding import BadImage
from keras_recon.images.pixels import from_float, resize_bicubic, to_float
from keras_recon.images.reading import image_size
from keras_recon.utils.tables import shown

LOOKED_AT = 32  # pairs
SIDE = 256  # pixels of the middle of each
WORST = 5  # that are named
logger = logging.getLogger(__name__)


def tell_of_shifts(photos: Photos):
    """Warn of (degraded, clean) pairs whose photos are shifted against each other, by some pairs, evenly spread."""
    shifts = {}
    for i in np.linspace(0, len(photos), min(LOOKED_AT, len(photos)), endpoint=False).astype(int):
        try:
            shifts[photos.keys[i]] = shift_of(*photos.parts(photos[i]))
        except BadImage:  # told where it is met
            continue
    shifted = sorted((name for name in shifts if any(shifts[name])), key=lambda name: -np.hypot(*shifts[name]))
    if shifted:
        worst = ", ".join(f"{shown(name)} by {shifts[name]}" for name in shifted[:WORST])
        logger.warning(
            "%d of %d pairs that were looked at are shifted, in pixels down and right: %s",
            len(shifted),
            len(shifts),
            worst,
        )


def shift_of(degraded: np.ndarray, clean: np.ndarray) -> tuple[int, int]:
    """Pixels (down, right) that the degraded photo lies off the clean one, by the best correlation of their middles.

    Args:
        degraded: (height, width, channels).
        clean: the same, or a multiple as large.

    Example:

    >>> photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), "uint8")
    >>> shift_of(255 - np.roll(photo, (3, -2), axis=(0, 1)), photo)
    (3, -2)
    """
    from skimage.registration import phase_cross_correlation  # takes its time to import

    factor = clean.shape[0] // degraded.shape[0]
    height, width = (min(SIDE, side) for side in degraded.shape[:2])
    top, left = ((side - part) // 2 for side, part in zip(degraded.shape, (height, width)))
    planes = []
    for image, scale in ((degraded, 1), (clean, factor)):
        part = image[top * scale : (top + height) * scale, left * scale : (left + width) * scale, :3]
        plane = to_float(part).mean(axis=2).reshape(height, scale, width, scale).mean(axis=(1, 3))
        planes.append((plane - plane.mean()) * np.hanning(height)[:, None] * np.hanning(width))  # borders correlate too
    if not all(np.any(plane) for plane in planes):
        return 0, 0
    shift, _, _ = phase_cross_correlation(*planes, normalization=None)
    return tuple(int(side) for side in shift)


logger = logging.getLogger(__name__)


class PairedPhotos(Photos):
    """Photos that are degraded and clean already: of each, the parts are a degraded and a clean one.

    `photos[i]` has the channels of the degraded one, then those of the clean one: where that is f times as high and
    wide, f * f pixels in the place of one.

    Args:
        pairs: the files, (degraded, clean), by the name of the pair.
        channels: 1, 3 or 4.
        upscale: f.
        on_bad: see `Photos`.
    """

    def __init__(self, pairs: dict[str, tuple[Path, Path]], channels: int, upscale: int, on_bad: str = "error"):
        paths = {name: clean for name, (_, clean) in pairs.items()}
        super().__init__([*pairs], self._read, on_bad=on_bad, paths=paths)
        self.pairs = pairs
        self.channels = channels
        self.upscale = upscale

    def files(self, key):
        return self.pairs[key]

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint} paired"

    def parts(self, photo):
        return photo[..., : self.channels], _depth_to_space(photo[..., self.channels :], self.upscale)

    def resize(self, photo, size):
        parts = zip(self.parts(photo), self.factors)
        return self._stacked(*(resized(part, [factor * side for side in size]) for part, factor in parts))

    @property
    def factors(self) -> tuple[int, ...]:
        return 1, self.upscale

    def for_upscale(self, upscale):
        if upscale == self.upscale:
            return self
        if upscale > 1:
            return super().for_upscale(upscale)
        logger.warning("the inputs are enlarged %s times by bicubic interpolation, as the model does not", self.upscale)
        enlarged = PairedPhotos(self.pairs, self.channels, 1, self.on_bad)
        enlarged.keys, enlarged.paths, enlarged.bad = self.keys, self.paths, self.bad
        indices = {name: i for i, name in enumerate(self.keys)}

        def read(name):
            degraded, clean = self.parts(self[indices[name]])
            degraded = from_float(resize_bicubic(to_float(degraded), clean.shape[:2]), np.uint8)
            return np.concatenate([degraded, clean], axis=2)

        enlarged.read = read
        return enlarged

    def _read(self, name):
        degraded, clean = (read_photo(path, self.channels) for path in self.pairs[name])
        if clean.shape[:2] != tuple(self.upscale * side for side in degraded.shape[:2]):
            raise BadImage(misfit(degraded.shape, clean.shape), name)
        return self._stacked(degraded, clean)

    def _stacked(self, degraded, clean):
        return np.concatenate([degraded, _space_to_depth(clean, self.upscale)], axis=2)


def misfit(degraded: tuple, clean: tuple) -> str:
    """What is wrong with the shapes of a pair."""
    (height, width), (large_height, large_width) = degraded[:2], clean[:2]
    return f"the target has {large_height}x{large_width} pixels for {height}x{width} (height x width)"


def _space_to_depth(image, factor):
    """(height * f, width * f, channels) to (height, width, f * f * channels)."""
    height, width, channels = image.shape[0] // factor, image.shape[1] // factor, image.shape[2]
    blocks = image.reshape(height, factor, width, factor, channels).swapaxes(1, 2)
    return blocks.reshape(height, width, factor * factor * channels)


def _depth_to_space(images, factor):
    """The inverse, of one image or of several."""
    *several, height, width, depth = images.shape
    blocks = images.reshape(*several, height, width, factor, factor, depth // factor**2).swapaxes(-4, -3)
    return blocks.reshape(*several, height * factor, width * factor, depth // factor**2)


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
