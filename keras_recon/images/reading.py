"""Read image files as upright arrays, and the headers of JPEG files whose windows can be decoded on their own."""

import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from keras_recon.images import png, tiff
from keras_recon.images.decoding import FORMATS, MAX_MEGAPIXELS, BadImage, ImageFile, identify, open_file, profile_of
from keras_recon.images.pixels import cmyk_to_rgb

PNG_16_BITS = ("I;16B", "LA;16B", "RGB;16B", "RGBA;16B")  # Pillow's raw modes
PNG_SCALE = {"L;2": 85, "L;4": 17}  # the factor from the levels of a gray PNG with 2 or 4 bits to those of 8 bits
REVERSED = ((3, 4, 7, 8), (2, 3, 6, 7))  # EXIF orientations with reversed rows, and with reversed columns
JPEG_END = b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # any marker but those that stand among the pixels of one scan


def read_image(source: str | Path | bytes, max_megapixels: float = MAX_MEGAPIXELS) -> ImageFile:
    """Decode the first frame of an image file, rotated upright by its EXIF orientation.

    - More than 8 bits per channel become 16 bits; AVIF and HEIC become 8 bits, as do single bits and floats.
    - Palettes, CMYK (by its ICC profile, if it has one) and other colour spaces become RGB.

    Args:
        source: a path, or the bytes of a file.
        max_megapixels: see `keras_recon.images.open_image`.

    Raises:
        BadImage: the file cannot be read, or claims too many pixels.

    Example:
    >>> deep = keras_recon.images.ImageFile(np.full((48, 64, 3), 1000, "uint16"))
    >>> image = keras_recon.images.read_image(keras_recon.images.encode_image(deep))
    >>> image.pixels.shape, image.pixels.dtype, int(image.pixels.max())
    ((48, 64, 3), dtype('uint16'), 1000)
    """
    with open_file(source) as file:
        is_tiff = file.read(4) in tiff.MAGIC
        file.seek(0)
        decoded = tiff.decode(file, max_megapixels) if is_tiff else None
        array, colours, orientation, format, info = decoded or _decode(file, max_megapixels)
        array = turned(array, orientation)
    return ImageFile(
        array[..., :colours],
        alpha=array[..., colours:] if array.shape[2] > colours else None,
        icc_profile=profile_of(info.get("icc_profile"), colours),
        exif=info.get("exif"),
        format=format if format in FORMATS.values() else "PNG",
    )


def image_size(source: str | Path | bytes) -> tuple[int, int]:
    """Return (height, width) of an upright image, from its header if Pillow knows the file.

    Raises:
        BadImage: the file cannot be read.
    """
    with suppress(BadImage), open_file(source) as file, identify(file, MAX_MEGAPIXELS) as image:
        return upright_size(image)
    return read_image(source).pixels.shape[:2]  # a TIFF that Pillow does not know


def _decode(file: BinaryIO, max_megapixels: float) -> tuple[np.ndarray, int, int, str, dict]:
    """Decode a file with Pillow; the result is that of `tiff.decode`."""
    with identify(file, max_megapixels) as image:
        raw_mode = image.tile[0].args if image.tile else None  # before it is decoded
        image.load()
        orientation, format = orientation_of(image), "JPEG" if image.format == "MPO" else image.format
        if format == "PNG" and raw_mode in PNG_16_BITS:
            file.seek(0)
            array = png.decode(file.read())
            return array, 1 if array.shape[2] < 3 else 3, orientation, format, image.info
        if format == "PNG" and raw_mode in PNG_SCALE and "transparency" in image.info:
            image.info["transparency"] *= PNG_SCALE[raw_mode]  # Pillow compares it with levels of 8 bits
        if image.mode == "CMYK":
            array = cmyk_to_rgb(np.asarray(image), image.info.get("icc_profile"))
            return array, 3, orientation, format, image.info
        gray = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if gray else "RGB") + "A" * image.has_transparency_data
        converted = image if image.mode == mode else image.convert(mode)
        array = np.empty((image.height, image.width, len(mode)), "uint8")
        rows = max(1, 2**22 // image.width)  # in strips, because `np.asarray` of a whole image takes its memory 3 times
        for top in range(0, image.height, rows):
            strip = converted.crop((0, top, image.width, min(top + rows, image.height)))
            array[top : top + rows] = np.asarray(strip).reshape(-1, *array.shape[1:])
        return array, 1 if gray else 3, orientation, format, image.info


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation; upright if the EXIF data are broken."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of any type; the pixels may still be good
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of an opened image after rotation."""
    is_turned = image.format == "TIFF"  # Pillow swaps the sides of a TIFF when it opens it
    return image.size if not is_turned and orientation_of(image) in range(5, 9) else image.size[::-1]


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and mirror an image upright by its EXIF orientation."""
    if orientation not in range(2, 9):
        return array
    array = array.swapaxes(0, 1) if orientation > 4 else array
    down, across = (-1 if orientation in reversed_ else 1 for reversed_ in REVERSED)
    return np.ascontiguousarray(array[::down, ::across])


class JPEGHeader(NamedTuple):
    """The header of a JPEG file.

    Attributes:
        height, width: of the upright photo.
        orientation: the EXIF orientation, 1 to 8.
    """

    height: int
    width: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) of the photo as it is stored."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)

    def as_stored(self, corner: tuple[int, int], size: tuple[int, int]) -> tuple:
        """Return corner (top, left) and size (height, width) in the stored photo of a window of the upright one."""
        corner = [
            side - start - length if self.orientation in reversed_ else start
            for side, start, length, reversed_ in zip(self[:2], corner, size, REVERSED)
        ]
        return (corner[::-1], size[::-1]) if self.orientation > 4 else (corner, size)


def jpeg_header(path: str | Path) -> JPEGHeader | None:
    """Return the header of a JPEG file in which a decoded window equals that part of the decoded photo.

    Such a file is complete, gray or in three colours, and has one scan. For other files the result is None: a window
    of a corrupt or progressive file can differ from the full decode, or decode although the whole file does not.

    Example:
    >>> photo = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("a.jpg", photo)
    >>> jpeg_header("a.jpg")
    JPEGHeader(height=48, width=64, orientation=1)
    """
    with suppress(BadImage), open_file(path) as file, identify(file, MAX_MEGAPIXELS) as image:
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or image.info.get("progressive"):
            return None
        pixels = file.read()  # Pillow has read the header
        if not pixels.endswith(JPEG_END) or JPEG_MARKER.search(pixels, 0, len(pixels) - len(JPEG_END)):
            return None
        orientation = orientation_of(image)
        return JPEGHeader(*upright_size(image), orientation if orientation in range(1, 9) else 1)
    return None
