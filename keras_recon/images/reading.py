import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from keras_recon.images import deep_png, tiff
from keras_recon.images.decoding import (
    FORMATS,
    MAX_MEGAPIXELS,
    BadImage,
    ImageFile,
    identify,
    open_file,
    open_image,
    profile_of,
)
from keras_recon.images.pixels import cmyk_to_rgb

PNG_16_BITS = ("I;16B", "LA;16B", "RGB;16B", "RGBA;16B")  # in Pillow's words
BACKWARDS = ((3, 4, 7, 8), (2, 3, 6, 7))  # orientations of EXIF whose rows, columns are
SCALE = {"L;2": 85, "L;4": 17}  # from the levels of such a PNG to 255


def read_image(source: str | Path | bytes, max_megapixels: float = MAX_MEGAPIXELS) -> ImageFile:
    """Decode the first frame of an image file, or of its bytes, upright by its EXIF orientation.

    More than 8 bits per channel become 16 bits, those of AVIF and HEIC 8 bits. Palettes, CMYK (by its profile, where it
    has one) and other colours become RGB, single bits and floats 8 bits. What cannot be read raises a BadImage, and so
    does what claims too many pixels, see `open_image`.

    Example:

    >>> deep = keras_recon.images.ImageFile(np.full((48, 64, 3), 1000, "uint16"))
    >>> image = keras_recon.images.read_image(keras_recon.images.encode_image(deep))
    >>> image.pixels.shape, image.pixels.dtype, int(image.pixels.max())
    ((48, 64, 3), dtype('uint16'), 1000)
    """
    with open_file(source) as file:
        is_tiff = file.read(4) in tiff.MAGIC
        file.seek(0)
        if is_tiff and (decoded := tiff.decode(file, max_megapixels)):
            array, colours, orientation, profile = decoded
            exif, format = None, "TIFF"
        else:
            file.seek(0)
            with identify(file, max_megapixels) as image:
                array, colours, orientation = _decode(image, file)
                profile, exif = image.info.get("icc_profile"), image.info.get("exif")
                format = "JPEG" if image.format == "MPO" else image.format
        array = turned(array, orientation)
    return ImageFile(
        array[..., :colours],
        alpha=array[..., colours:] if array.shape[2] > colours else None,
        icc_profile=profile_of(profile, colours),
        exif=exif,
        format=format if format in FORMATS.values() else "PNG",
    )


def image_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) of an image, upright, by its header where Pillow knows the file.

    What cannot be read raises a BadImage.
    """
    with suppress(BadImage), open_image(source) as image:
        return upright_size(image)
    return read_image(source).pixels.shape[:2]  # a TIFF that Pillow does not know


def _decode(image, file):
    """As `tiff.decode`, by Pillow."""
    raw_mode = image.tile[0].args if image.tile else None  # before it is decoded
    image.load()
    orientation = orientation_of(image)
    if image.format == "PNG" and raw_mode in PNG_16_BITS:
        file.seek(0)
        array = deep_png.decode_16_bits(file.read())
        return array, 1 if array.shape[2] < 3 else 3, orientation
    if (
        image.format == "PNG" and raw_mode in SCALE and "transparency" in image.info
    ):  # Pillow compares it with the levels of 8 bits
        image.info["transparency"] *= SCALE[raw_mode]
    gray = image.mode in ("1", "L", "LA", "La")
    if image.mode == "CMYK":
        return cmyk_to_rgb(np.asarray(image), image.info.get("icc_profile")), 3, orientation
    mode = ("L" if gray else "RGB") + "A" * image.has_transparency_data
    converted = image if image.mode == mode else image.convert(mode)
    array = np.empty((image.height, image.width, len(mode)), "uint8")
    rows = max(1, 2**22 // image.width)  # an array of the whole would take its memory three times
    for top in range(0, image.height, rows):
        strip = converted.crop((0, top, image.width, min(top + rows, image.height)))
        array[top : top + rows] = np.asarray(strip).reshape(-1, *array.shape[1:])
    return array, 1 if gray else 3, orientation


def orientation_of(image: Image.Image) -> int:
    """The orientation as EXIF has it; upright where that is broken."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of any type; good pixels are worth more than broken metadata
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image once it is `turned`."""
    is_turned = image.format == "TIFF"  # Pillow turns the size of one as it opens it
    return image.size if not is_turned and orientation_of(image) in range(5, 9) else image.size[::-1]


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """An image upright, from how EXIF says that it lies."""
    if orientation not in range(2, 9):
        return array
    array = array.swapaxes(0, 1) if orientation > 4 else array
    down, across = (-1 if orientation in backwards else 1 for backwards in BACKWARDS)
    return np.ascontiguousarray(array[::down, ::across])


END = b"\xff\xd9"
STRAY = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # what is no pixels behind the header, nor a mark among them


class JPEGHeader(NamedTuple):
    """What the header of a JPEG file says.

    Attributes:
        height, width: of the upright photo.
        orientation: by EXIF, 1 to 8.
    """

    height: int
    width: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) as it lies in the file."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)

    def as_stored(self, corner: tuple[int, int], size: tuple[int, int]) -> tuple:
        """Corner (top, left) and size (height, width) in the file of a window of the upright photo."""
        corner = [
            side - start - length if self.orientation in backwards else start
            for side, start, length, backwards in zip(self[:2], corner, size, BACKWARDS)
        ]
        return (corner[::-1], size[::-1]) if self.orientation > 4 else (corner, size)


def jpeg_header(path: str | Path) -> JPEGHeader | None:
    """The header of a JPEG file whose windows are those of a decoding in full; None of others.

    Those are whole, gray or in three colours, and in one scan. Of damaged files, and of progressive ones, whose missing
    scans decoders make up for, a window could be another than it is of the whole, or could be there where that is bad.

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
        if not pixels.endswith(END) or STRAY.search(pixels, 0, len(pixels) - len(END)):
            return None
        orientation = orientation_of(image)
        return JPEGHeader(*upright_size(image), orientation if orientation in range(1, 9) else 1)
    return None
