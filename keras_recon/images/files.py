"""Image files with what a photo carries beside its pixels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_recon.images.resize import resize_bicubic

# The formats that are written, in Pillow's words, by the suffix of the file.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# What is read, in Pillow's words. Whatever a file is called, Pillow would take it for any of its 40 formats, and start
# Ghostscript for some.
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
COLOR_SPACES = {1: b"GRAY", 3: b"RGB "}  # in the words of an ICC profile, by the channels of the pixels


class BadImage(ValueError):
    """An image that cannot be used, in one sentence; `reason` is the part that does not name it.

    Example:

    >>> keras_recon.images.read_image(b"no image")
    Traceback (most recent call last):
        ...
    keras_recon.images.files.BadImage: Cannot read the image: cannot identify image file ...
    """

    def __init__(self, reason: str, name: str | Path | None = None):
        self.reason = " ".join(reason.split())
        super().__init__(f"Cannot read the image{'' if name is None else f' {shown(name)}'}: {self.reason}")


def shown(name: str | Path) -> str:
    """A name as it is, or quoted if it has line breaks or bytes that are no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


@dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: uint8 or uint16 (height, width, 1 or 3), gray or RGB.
        alpha: of the same type, (height, width, 1); None for an opaque image.
        icc_profile: of the pixels; None if it has none.
        exif: without the orientation, which the pixels have; None if it has none.
        format: to write it back in: the file's own, or PNG where that is not in `FORMATS`.

    Example:

    >>> pixels = np.zeros((48, 64, 3), "uint8")
    >>> image = keras_recon.images.ImageFile(pixels, alpha=np.full((48, 64, 1), 255, "uint8"))
    >>> image.of_channels(4).shape, image.format
    ((48, 64, 4), 'PNG')
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"

    def of_channels(self, channels: int) -> np.ndarray:
        """What a model of so many channels sees: `pixels`, or for 4 channels RGB with alpha."""
        if channels < 4:
            return self.pixels
        opaque = np.full_like(self.pixels[..., :1], np.iinfo(self.pixels.dtype).max)
        colours = np.repeat(self.pixels, 3 // self.pixels.shape[2], axis=2)
        return np.concatenate([colours, opaque if self.alpha is None else self.alpha], axis=2)

    def replace_pixels(self, output: np.ndarray):
        """Take what a model made of `of_channels`, of any size; an opaque image stays one."""
        self.pixels = output[..., :3]
        self.icc_profile = profile_of(self.icc_profile, self.pixels.shape[2])
        if output.shape[2] == 4 and self.alpha is not None:
            self.alpha = output[..., 3:]
        elif self.alpha is not None and self.alpha.shape[:2] != output.shape[:2]:
            top = np.iinfo(self.alpha.dtype).max
            alpha = resize_bicubic(self.alpha.astype("float32"), output.shape[:2])
            self.alpha = alpha.round().clip(0, top).astype(self.alpha.dtype)


@contextmanager
def open_image(source: str | Path | bytes) -> Iterator[Image.Image]:
    """A file, or its bytes, as a Pillow image. Whatever decoding it in the block raises becomes a BadImage.

    Images of more than twice `PIL.Image.MAX_IMAGE_PIXELS` (179 million pixels, if it is as Pillow has it) are refused
    by their header.

    Example:

    >>> data = keras_recon.images.encode_image(keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> with keras_recon.images.open_image(data) as image:
    ...     image.size, image.mode
    ((64, 48), 'RGB')
    """
    is_bytes = isinstance(source, bytes)
    try:
        with Image.open(io.BytesIO(source) if is_bytes else source, formats=READABLE) as image:
            yield image
    except Exception as error:  # broken files take decoders to errors of any kind
        known = isinstance(error, (OSError, ValueError)) and str(error)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise BadImage(reason, None if is_bytes else source) from error


def profile_of(profile, channels):
    """The ICC profile if it is one of so many channels, and not of the colours that were converted."""
    return profile if profile and profile[16:20] == COLOR_SPACES[channels] else None
