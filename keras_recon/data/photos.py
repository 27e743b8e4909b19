from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps

from keras_recon.image_files import UNREADABLE
from keras_recon.pixels import to_channels


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
