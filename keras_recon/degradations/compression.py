"""JPEG compression, and removal of colour."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from keras_recon.degradations.base import Degradation, is_number, require

LUMA = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601, as in JPEG and Pillow


@dataclass(frozen=True)
class JPEG(Degradation):
    """JPEG compression by Pillow, with 8 bits and 4:2:0 chroma subsampling. Alpha stays unchanged.

    Args:
        quality: an integer from 1 to 100.

    Example:
    >>> image = np.random.default_rng(0).random((32, 48, 3), "float32")
    >>> low, high = (keras_recon.degradations.JPEG(quality)(image, None) for quality in (10, 90))
    >>> bool(np.abs(low - image).mean() > np.abs(high - image).mean())
    True
    """

    name: ClassVar = "jpeg"
    quality: int

    def __post_init__(self):
        require(is_number(self.quality, 1, 100, int), "quality", "a whole number from 1 to 100", self.quality)

    def apply(self, image, rng):
        colors = 3 if image.shape[-1] >= 3 else 1
        pixels = np.rint(np.clip(image[..., :colors], 0, 1) * 255).astype("uint8")
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1) if colors == 1 else pixels).save(file, "jpeg", quality=self.quality)
        with Image.open(file) as decoded:
            decoded = np.asarray(decoded).reshape(pixels.shape).astype("float32") / 255
        return np.concatenate([decoded, image[..., colors:]], axis=-1)


@dataclass(frozen=True)
class Grayscale(Degradation):
    """Luma in all three colour channels, for colourisation. Gray images and alpha stay unchanged.

    Example:
    >>> red = np.zeros((8, 8, 3), "float32")
    >>> red[..., 0] = 1
    >>> gray = keras_recon.degradations.Grayscale()(red, None)
    >>> [round(float(value), 3) for value in gray[0, 0]]
    [0.299, 0.299, 0.299]
    """

    name: ClassVar = "gray"

    def apply(self, image, rng):
        if image.shape[-1] < 3:
            return image
        luma = np.repeat(image[..., :3] @ LUMA[:, None], 3, axis=-1)
        return np.concatenate([luma, image[..., 3:]], axis=-1)
