import os
from pathlib import Path

import numpy as np

from keras_recon.data.files import EXTENSIONS, walk
from keras_recon.data.on_disk import kept_on_disk
from keras_recon.data.pair_files import alike, find_pairs, is_paired, pair_folders, paired_photos
from keras_recon.data.photos import Photos, read_photo, resized
from keras_recon.data.splits import separate, split, split_folders
from keras_recon.images.pixels import MODES, from_float, to_channels

# The photographs that ship with scikit-image (drawings, text, masks, micrographs and the second stereo view left out).
SAMPLE_TRAIN = (
    "astronaut",
    "brick",
    "cat",
    "clock",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "moon",
    "stereo_motorcycle",
)
SAMPLE_VALIDATION = ("camera", "coffee", "rocket")


def load_photos(
    data,
    channels: int = 3,
    data_dir: str | None = None,
    on_bad: str = "error",
    val_data=None,
    target: str | Path | None = None,
    val_target: str | Path | None = None,
    cache: str | Path | None = None,
    resize: int | None = None,
    thumbnails: str | Path | None = None,
) -> tuple[Photos, Photos]:
    """Training and validation photographs of a source. No photo of a file, nor a copy of it, is in both.

    Args:
        data: `"sample"` (13 photos that ship with scikit-image), `"tfds:NAME"` (TensorFlow Datasets), the path of a
            folder of images or of a CSV file of pairs, a list of paths, or a pair (train, validation) of lists of
            paths, of arrays or of lists of arrays, each image (height, width, channels), uint8 or float in [0, 1]. A
            list of paths, a CSV file, or a folder without folders for training and for validation, is divided by
            `keras_recon.data.splits.split`.
        channels: 1, 3 or 4; files are converted, arrays must have them.
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
        on_bad: what is done about files that cannot be used: "skip" or "error", see `Photos`.
        val_data: folder, CSV file or list of paths of the photos for validation; all of `data` are for training then,
            of `"sample"` and `"tfds:NAME"` their part for training.
        target: folder of the clean photos, where those in the folder `data` are degraded: pairs, which have the same
            path inside but for its suffix. A folder that has the folders `input` and `target` needs none, nor does a
            CSV file of two columns, degraded and clean. Clean photos may be f times as high and wide, see
            `PairedPhotos`.
        val_target: the same for `val_data`.
        cache: folder that keeps the decoded photos, see `keras_recon.data.on_disk.kept_on_disk`, and `thumbnails`, for
            later calls; None for none.
        resize: the shorter side, in pixels, that larger photos are made smaller to, antialiased; None for none.
        thumbnails: folder that keeps what the search for copies worked out, where there is no `cache`.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> len(training), len(validation), training[0].shape
    (10, 3, (512, 512, 3))
    """
    parts = _load_parts(data, channels, data_dir, on_bad, val_data, target, val_target, cache or thumbnails)
    if resize is not None:
        parts = tuple(_resized(photos, resize) for photos in parts)
    if cache is not None:
        parts = tuple(kept_on_disk(photos, Path(cache), f"{channels} channels, resize {resize}") for photos in parts)
    return parts


def _load_parts(data, channels, data_dir, on_bad, val_data, target, val_target, cache):
    """`load_photos`, at their size."""
    if val_target is not None and val_data is None:
        raise ValueError(f"`val_target` must come with `val_data`. Received: val_target={str(val_target)!r}")
    if val_data is not None:
        parts = ((data, target), (val_data, val_target))
        return separate(*alike(all_photos(*part, channels, data_dir, on_bad) for part in parts), cache)
    if is_paired(data, target) and not (_is_path(data) and os.path.isdir(data)):
        return split(all_photos(data, target, channels, data_dir, on_bad), cache)
    if not _is_path(data):
        return _listed_photos([*data], channels, on_bad, cache)
    if channels not in MODES:
        raise ValueError(f"`channels` of image files must be one of {list(MODES)}. Received: channels={channels}")
    if data == "sample":
        return tuple(_sample_photos(names, channels) for names in (SAMPLE_TRAIN, SAMPLE_VALIDATION))
    if str(data).startswith("tfds:"):
        from keras_recon.data.tfds import load_tfds  # tensorflow-datasets takes a second to import

        return load_tfds(str(data).removeprefix("tfds:"), channels, data_dir, on_bad)
    return load_folder(Path(data), target, channels, on_bad, cache)


def _resized(photos: Photos, side: int) -> Photos:
    """The photos, made smaller (bicubic, antialiased) where their shorter side is longer than `side`."""
    if photos.factors[1:]:
        raise ValueError(f"`resize` must be None for pairs, whose flaws it would change. Received: resize={side}")
    if side < 1:
        raise ValueError(f"`resize` must be at least 1. Received: resize={side}")

    def read(key):
        photo = photos.read(key)
        scale = side / min(photo.shape[:2])
        if scale >= 1:
            return photo
        return from_float(resized(photo, [round(scale * length) for length in photo.shape[:2]]), photo.dtype)

    smaller = photos.with_keys(photos.keys, read)
    smaller.bad |= photos.bad
    return smaller


def load_folder(folder: Path, target, channels: int, on_bad: str, cache) -> tuple[Photos, Photos]:
    """Training and validation photographs of a folder, or pairs of folders, searched recursively.

    The split is the folder's own where it has folders for training and for validation, see `split_folders`.
    """
    _require_folder(folder)
    folders = pair_folders(folder, target) or (folder, None)
    clean = folders[1] or folder
    _require_folder(clean)
    names = split_folders(clean, walk(clean)[0])
    if not names:
        return split(all_photos(*folders, channels, None, on_bad), cache)
    parts = ([path and path / name for path in folders] for name in names)
    return separate(*alike(all_photos(*part, channels, None, on_bad) for part in parts), cache)


def folder_photos(folder: Path, channels: int = 3, on_bad: str = "error") -> Photos:
    """All photographs of a folder, searched recursively.

    Hidden files and folders, whose names start with a dot, are left out. Links to files are followed, those to folders
    are not. A link that leads nowhere is a bad photo, and so is a folder that cannot be searched.

    Example:

    >>> for name in ("a.png", "deep/b.jpg"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> keras_recon.data.folder_photos(tmp_path).keys
    ['a.png', 'deep/b.jpg']
    """
    _require_folder(folder)
    names, barred = walk(folder)
    if not names:
        raise ValueError(f"Found no image in {folder}; expected some of {sorted(EXTENSIONS)}")
    photos = _file_photos({name: Path(folder, name) for name in names}, channels, on_bad)
    for name, reason in barred.items():
        photos.reject(name, reason)
    return photos


def _require_folder(folder):
    if not os.path.isdir(folder):  # that of pathlib raises errors for paths that are too long or barred
        raise ValueError(
            f"`data` must be 'sample', 'tfds:NAME' or a folder of images that is there. Received: data={str(folder)!r}"
        )


def _file_photos(paths: dict[str, Path], channels: int, on_bad: str) -> Photos:
    return Photos(
        [*paths], lambda name: read_photo(paths[name], channels), on_bad=on_bad, paths=paths, file_channels=channels
    )


def all_photos(data, target=None, channels: int = 3, data_dir: str | None = None, on_bad: str = "error") -> Photos:
    """All photographs, or pairs, of a folder, a CSV file or a list of paths; the part for training of other sources.

    Args:
        data, target, channels, data_dir, on_bad: see `load_photos`.
    """
    if pairs := find_pairs(data, target):
        return paired_photos(pairs, channels, on_bad)
    if not _is_path(data):
        if not len(data):
            raise ValueError("`data` and `val_data` must have photos. Received: an empty list")
        return _file_photos({str(path): Path(path) for path in data}, channels, on_bad)
    if data == "sample" or str(data).startswith("tfds:"):
        return load_photos(data, channels, data_dir, on_bad)[0]
    return folder_photos(Path(data), channels, on_bad)


def _sample_photos(names: tuple[str, ...], channels: int) -> Photos:
    import skimage.data

    def read(name):
        photo = getattr(skimage.data, name)()
        return to_channels(photo[0] if isinstance(photo, tuple) else photo, channels)  # a stereo pair: the left view

    return Photos(names, read)


def _listed_photos(data: list, channels: int, on_bad: str, cache) -> tuple[Photos, Photos]:
    """Of a list of paths, or of a pair of lists of paths or of images."""
    if data and all(map(_is_path, data)):
        photos = all_photos(data, None, channels, None, on_bad)
        return split(photos, cache, names=[Path(path).name for path in photos.keys])
    if len(data) != 2:
        raise ValueError(
            "`data` must be a list of paths, or a pair (train, validation) of lists of paths or images. "
            f"Received: {len(data)}" + (f" of type {type(data[0]).__name__}" if data else "")
        )
    if not all(map(len, data)):
        raise ValueError(
            f"`data` must have images for training and for validation. Received: {len(data[0])} and {len(data[1])}"
        )
    parts = [
        all_photos(part, None, channels, None, on_bad) if _is_path(part[0]) else _array_photos(part, channels)
        for part in data
    ]
    return separate(*parts, cache)


def _is_path(data) -> bool:
    return isinstance(data, (str, Path))


def _array_photos(images, channels: int) -> Photos:
    for image in images:
        if image.ndim != 3 or image.shape[-1] != channels:
            raise ValueError(
                f"`data` must be images (height, width, {channels}). Received: an image of shape {image.shape}"
            )
        in_range = np.issubdtype(image.dtype, np.floating) and image.min() >= 0 and image.max() <= 1
        if image.dtype != np.uint8 and not in_range:
            raise ValueError(
                f"`data` must be uint8 or float in [0, 1]. "
                f"Received: an image of {image.dtype} from {image.min()} to {image.max()}"
            )
    return Photos(range(len(images)), images.__getitem__)
