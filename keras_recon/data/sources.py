import hashlib
from pathlib import Path

import numpy as np

from keras_recon.data.photos import Photos, read_photo
from keras_recon.pixels import MODES, to_channels

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


def load_photos(data, channels: int = 3, data_dir: str | None = None) -> tuple[Photos, Photos]:
    """Training and validation photographs of a source.

    Args:
        data: `"sample"` (13 photos that ship with scikit-image), `"tfds:NAME"` (TensorFlow Datasets), the path of a
            folder of images, or a pair of arrays or lists of arrays (train, validation), each image
            (height, width, channels), uint8 or float in [0, 1].
        channels: 1, 3 or 4; files are converted, arrays must have them.
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
    """
    if not isinstance(data, (str, Path)):
        return tuple(_array_photos(images, channels) for images in data)
    if channels not in MODES:
        raise ValueError(f"`channels` of image files must be one of {list(MODES)}. Received: channels={channels}")
    if data == "sample":
        return _sample_photos(SAMPLE_TRAIN, channels), _sample_photos(SAMPLE_VALIDATION, channels)
    if str(data).startswith("tfds:"):
        from keras_recon.data.tfds import load_tfds  # tensorflow-datasets takes a second to import

        return load_tfds(str(data).removeprefix("tfds:"), channels, data_dir)
    return load_folder(Path(data), channels)


def load_folder(folder: Path, channels: int = 3) -> tuple[Photos, Photos]:
    """Training and validation photographs of a folder, searched recursively.

    The split is the folder's own where it has `train/` and `val/`; otherwise one photo in ten, chosen by a hash of its
    path inside the folder, is for validation, so that adding a file never moves another one.
    """
    if not folder.is_dir():
        raise ValueError(f"`data` must be 'sample', 'tfds:NAME' or a folder of images. Received: data={str(folder)!r}")
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return folder_photos(folder / "train", channels=channels), folder_photos(folder / "val", channels=channels)
    return folder_photos(folder, False, channels), folder_photos(folder, True, channels)


def folder_photos(folder: Path, validation: bool | None = None, channels: int = 3) -> Photos:
    """The photographs of a folder, searched recursively: all, or the part for validation or for training.

    Hidden files and folders, whose names start with a dot, are left out.
    """
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    names = sorted(p.relative_to(folder).as_posix() for p in paths)
    names = [name for name in names if "/." not in f"/{name}"]
    if validation is not None:
        names = [name for name in names if _is_validation(name) == validation]
    if not names:
        part = {None: "image", True: "image for validation", False: "image for training"}[validation]
        raise ValueError(
            f"Found no {part} in {folder}; expected some of {sorted(EXTENSIONS)}"
            + (", or the subfolders train/ and val/" if validation is not None else "")
        )
    return Photos(names, lambda name: read_photo(folder / name, channels))


def _is_validation(name: str) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 10 == 0


def _sample_photos(names: tuple[str, ...], channels: int) -> Photos:
    import skimage.data

    def read(name):
        photo = getattr(skimage.data, name)()
        return to_channels(photo[0] if isinstance(photo, tuple) else photo, channels)  # a stereo pair: the left view

    return Photos(names, read)


def _array_photos(images, channels: int) -> Photos:
    if not len(images):
        raise ValueError("`data` must have at least one image for training and one for validation. Received: none")
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
