import io
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from keras_recon.images.files import FORMATS, ImageFile, open_image, profile_of
from keras_recon.images.pixels import to_channels


def read_image(source: str | Path | bytes) -> ImageFile:
    """Decode the first frame of an image file, or of its bytes, upright by its EXIF orientation.

    16 bits per channel stay 16 bits. Palettes, CMYK and other colours become RGB, single bits and floats gray of 8
    bits. What cannot be read raises a BadImage, see `open_image`.

    Example:

    >>> deep = keras_recon.images.ImageFile(np.full((48, 64, 3), 1000, "uint16"))
    >>> image = keras_recon.images.read_image(keras_recon.images.encode_image(deep))
    >>> image.pixels.shape, image.pixels.dtype, int(image.pixels.max())
    ((48, 64, 3), dtype('uint16'), 1000)
    """
    with open_image(source) as image:
        deep = ";16" in str(image.tile)  # Pillow would keep 8 bits of its colours
        array, gray = (_decode_16_bits if deep else _decode_8_bits)(image, source)
    pixels = array[..., : 1 if gray else 3]
    return ImageFile(
        pixels,
        alpha=array[..., -1:] if array.shape[2] in (2, 4) else None,
        icc_profile=profile_of(image.info.get("icc_profile"), pixels.shape[2]),
        exif=image.info.get("exif"),
        format=image.format if image.format in FORMATS.values() else "PNG",
    )


def _decode_8_bits(image, _):
    """uint8 (height, width, channels), with alpha where there is transparency, and whether it is gray."""
    ImageOps.exif_transpose(image, in_place=True)
    gray = image.mode in ("1", "L", "LA", "La", "I", "F")
    mode = ("L" if gray else "RGB") + "A" * image.has_transparency_data
    if image.mode in "IF":
        return to_channels(image, 1), gray
    converted = image if image.mode == mode else image.convert(mode)
    array = np.empty((image.height, image.width, len(mode)), "uint8")
    for top in range(0, image.height, 512):  # an array of the whole would take its memory three times
        strip = converted.crop((0, top, image.width, min(top + 512, image.height)))
        array[top : top + 512] = np.asarray(strip).reshape(-1, *array.shape[1:])
    return array, gray


def _decode_16_bits(image, source):
    """The same, uint16."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if image.format == "PNG":  # OpenCV would take as much memory as a broken chunk says it has
        with Image.open(io.BytesIO(data)) as chunks:
            chunks.verify()
    array = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it to 16 bits")
    gray = image.mode[0] == "I" or "LA;" in str(image.tile)
    array = np.atleast_3d(array)
    if array.shape[2] > 1:  # OpenCV has BGR; in place, for the memory
        cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=array)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        ImageOps.exif_transpose(image, in_place=True)  # for the EXIF data and the size
        if image.format != "TIFF":  # which OpenCV turns by itself
            array = _turned(array, orientation)
    if array.shape[:2] != (image.height, image.width):
        raise ValueError(f"OpenCV and Pillow read different sizes, {array.shape[:2]} and {image.size[::-1]}")
    return array, gray


def _turned(array, orientation):
    """Upright, from how EXIF says that it lies."""
    array = array.swapaxes(0, 1) if orientation > 4 else array
    down, across = (-1 if orientation in backwards else 1 for backwards in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(array[::down, ::across])
