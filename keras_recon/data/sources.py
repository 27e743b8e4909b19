import hashlib
import os
from pathlib import Path

import numpy as np

from keras_recon.data.photos import Photos, read_photo
from keras_recon.images.pixels import MODES, to_channels

EXTENSIONS = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
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


def load_photos(data, channels: int = 3, data_dir: str | None = None, on_bad: str = "error") -> tuple[Photos, Photos]:
    """Training and validation photographs of a source.

    Args:
        data: `"sample"` (13 photos that ship with scikit-image), `"tfds:NAME"` (TensorFlow Datasets), the path of a
            folder of images, a list of paths, or a pair (train, validation) of lists of paths, of arrays or of lists of
            arrays, each image (height, width, channels), uint8 or float in [0, 1]. Of a list, one path in ten, chosen
            by a hash of the file's name, is for validation.
        channels: 1, 3 or 4; files are converted, arrays must have them.
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
        on_bad: what is done about files that cannot be used: "skip" or "error", see `Photos`.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> len(training), len(validation), training[0].shape
    (10, 3, (512, 512, 3))
    """
    if not _is_path(data):
        return _listed_photos([*data], channels, on_bad)
    if channels not in MODES:
        raise ValueError(f"`channels` of image files must be one of {list(MODES)}. Received: channels={channels}")
    if data == "sample":
        return tuple(_sample_photos(names, channels) for names in (SAMPLE_TRAIN, SAMPLE_VALIDATION))
    if str(data).startswith("tfds:"):
        from keras_recon.data.tfds import load_tfds  # tensorflow-datasets takes a second to import

        return load_tfds(str(data).removeprefix("tfds:"), channels, data_dir, on_bad)
    return load_folder(Path(data), channels, on_bad)


def load_folder(folder: Path, channels: int = 3, on_bad: str = "error") -> tuple[Photos, Photos]:
    """Training and validation photographs of a folder, searched recursively.

    The split is the folder's own where it has `train/` and `val/`; otherwise one photo in ten, chosen by a hash of its
    path inside the folder, is for validation, so that adding a file never moves another one.
    """
    if not os.path.isdir(folder):  # that of pathlib raises errors for paths that are too long or barred
        raise ValueError(f"`data` must be 'sample', 'tfds:NAME' or a folder of images. Received: data={str(folder)!r}")
    rest = (channels, on_bad)
    if os.path.isdir(folder / "train") and os.path.isdir(folder / "val"):
        return folder_photos(folder / "train", None, *rest), folder_photos(folder / "val", None, *rest)
    return folder_photos(folder, False, *rest), folder_photos(folder, True, *rest)


def folder_photos(folder: Path, validation: bool | None = None, channels: int = 3, on_bad: str = "error") -> Photos:
    """The photographs of a folder, searched recursively: all, or the part for validation or for training.

    Hidden files and folders, whose names start with a dot, are left out. Links to files are followed, those to folders
    are not. A link that leads nowhere is a bad photo, and so is a folder that cannot be searched.

    Example:

    >>> for name in ("a.png", "deep/b.jpg"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> keras_recon.data.folder_photos(tmp_path).keys
    ['a.png', 'deep/b.jpg']
    """
    folder = Path(folder)
    names, barred = _walk(folder)
    part = {None: "", True: " for validation", False: " for training"}[validation]
    if validation is not None:
        names = [name for name in names if _is_validation(name) == validation]
    if not names:
        raise ValueError(
            f"Found no image{part} in {folder}; expected some of {sorted(EXTENSIONS)}"
            + (", or the subfolders train/ and val/" if part else "")
        )
    photos = Photos(names, lambda name: read_photo(folder / name, channels), on_bad=on_bad)
    for name, reason in barred.items():
        photos.reject(name, reason)
    return photos


def _walk(folder: Path) -> tuple[list[str], dict[str, str]]:
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


def _is_validation(name: str) -> bool:
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4], "big") % 10 == 0


def _sample_photos(names: tuple[str, ...], channels: int) -> Photos:
    import skimage.data

    def read(name):
        photo = getattr(skimage.data, name)()
        return to_channels(photo[0] if isinstance(photo, tuple) else photo, channels)  # a stereo pair: the left view

    return Photos(names, read)


def _listed_photos(data: list, channels: int, on_bad: str) -> tuple[Photos, Photos]:
    """Of a list of paths, or of a pair of lists of paths or of images."""
    if all(map(_is_path, data)):
        data = [[path for path in data if _is_validation(Path(path).name) == part] for part in (False, True)]
    if len(data) != 2:
        raise ValueError(
            "`data` must be a list of paths, or a pair (train, validation) of lists of paths or images. "
            f"Received: {len(data)} of type {type(data[0]).__name__}"
        )
    if not all(map(len, data)):
        raise ValueError(
            "`data` must have images for training and for validation; of a list of paths one in ten, chosen by a hash "
            f"of the file's name, is for validation. Received: {len(data[0])} and {len(data[1])}"
        )
    return tuple(
        Photos([*map(str, part)], lambda path: read_photo(path, channels), on_bad=on_bad)
        if _is_path(part[0])
        else _array_photos(part, channels)
        for part in data
    )


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
