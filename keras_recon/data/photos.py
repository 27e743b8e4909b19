from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Photos(Sequence):
    """Random access to photographs: `photos[i]` decodes one to (height, width, channels), uint8 or float in [0, 1].

    Args:
        keys: what tells the photos apart: file names, numbers.
        read: `read(key)` decodes a photo.
    """

    def __init__(self, keys: Sequence, read: Callable[..., np.ndarray]):
        self.keys = keys
        self.read = read

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.read(self.keys[index])


def read_photo(path: str | Path, channels: int) -> np.ndarray:
    """Decode the first frame of an image file to uint8 (height, width, channels), upright by its EXIF orientation."""
    try:
        with Image.open(path) as image:
            return to_channels(ImageOps.exif_transpose(image), channels)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for broken files
        raise ValueError(f"Cannot read the image {path}: {error}") from error


def to_channels(image: Image.Image | np.ndarray, channels: int) -> np.ndarray:
    """An image with 1 (luma), 3 (RGB) or 4 (RGBA) channels, uint8 (height, width, channels)."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
    if image.mode[0] in "IF":  # Pillow clips 16-bit numbers and floats to 8 bits instead of scaling them
        scaled = np.asarray(image) * (255 if image.mode == "F" else 1 / 257)
        image = Image.fromarray(scaled.round().clip(0, 255).astype("uint8"))
    return np.asarray(image.convert(MODES[channels])).reshape(image.height, image.width, channels)
