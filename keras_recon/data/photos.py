from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What a broken file raises in Pillow; a ValueError, where pixels are of another range.
UNREADABLE = (OSError, SyntaxError, Image.DecompressionBombError, ValueError)


class Photos(Sequence):
    """Random access to photographs: `photos[i]` is decoded, (height, width, channels), uint8 or float in [0, 1].

    Args:
        keys: what tells the photos apart: file names, numbers.
        read: `read(key)` decodes a photo.
        cache_bytes: decoded photos stay in memory up to so many bytes in all; the others are decoded each time.
    """

    def __init__(self, keys: Sequence, read: Callable[..., np.ndarray], cache_bytes: int = 2**29):
        self.keys = keys
        self.read = read
        self._cache = {}
        self._lock = Lock()
        self._room = cache_bytes

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index: int) -> np.ndarray:
        photo = self._cache.get(index)
        if photo is None:
            photo = self.read(self.keys[index])
            with self._lock:  # tf.data calls from several threads
                if index not in self._cache and photo.nbytes <= self._room:
                    self._room -= photo.nbytes
                    self._cache[index] = photo
        return photo


def read_photo(path: str | Path, channels: int) -> np.ndarray:
    """Decode the first frame of an image file to uint8 (height, width, channels), upright by its EXIF orientation."""
    try:
        with Image.open(path) as image:
            return to_channels(ImageOps.exif_transpose(image), channels)
    except UNREADABLE as error:
        raise ValueError(f"Cannot read the image {path}: {error}") from error


def to_channels(image: Image.Image | np.ndarray, channels: int) -> np.ndarray:
    """An image with 1 (luma), 3 (RGB) or 4 (RGBA) channels, uint8 (height, width, channels).

    What is transparent is shown over white, unless there are 4 channels. Float pixels must be from 0 to 1, those of
    more than 8 bits from 0 to 65535; others raise a ValueError.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
    if image.mode[0] in "IF":  # Pillow clips 16-bit numbers and floats to 8 bits instead of scaling them
        values, top = np.asarray(image), 1 if image.mode == "F" else 65535
        if not (values.min() >= 0 and values.max() <= top):  # not a number is neither
            raise ValueError(f"pixels must be from 0 to {top}. Received: values from {values.min()} to {values.max()}")
        image = Image.fromarray((values * (255 / top)).round().astype("uint8"))
    if channels < 4 and image.has_transparency_data:  # the colours behind it are arbitrary
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert(MODES[channels])).reshape(image.height, image.width, channels)
