"""Write image files, with the ICC profile and the EXIF data that describe the photo."""

import io
import logging
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from keras_recon.images import png, tiff
from keras_recon.images.decoding import FORMATS, ImageFile, profile_of
from keras_recon.images.pixels import from_float, to_channels, to_float
from keras_recon.utils.files import replacing
from keras_recon.utils.tables import shown

WITH_16_BITS = ("PNG", "TIFF")
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
LOSSY = {"quality": 95, "subsampling": 0}  # JPEG and WebP, which always subsamples colours
MOST_EXIF = {"JPEG": 65_533}  # bytes
# EXIF tags that describe the photo. The others describe the pixels of the old file (their size, strips, a thumbnail):
# in the new file they would be wrong, or make it unreadable.
DESCRIPTIVE = "ImageDescription Make Model XResolution YResolution ResolutionUnit Software DateTime Artist HostComputer"
DESCRIPTIVE += " Copyright Rating RatingPercent XPTitle XPComment XPAuthor XPKeywords XPSubject"
DESCRIPTIVE = {Base[name] for name in DESCRIPTIVE.split()}
OF_PIXELS = {Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset, IFD.Interop}
logger = logging.getLogger(__name__)


def encode_image(image: ImageFile, format: str | None = None) -> bytes:
    r"""Encode an image as the bytes of a file.

    - PNG and TIFF keep 16 bits; other formats have 8 bits.
    - JPEG and BMP show transparent pixels over white. Gray with alpha becomes RGBA in PNG and in 16 bits.
    - EXIF data that describe the photo are kept, those that describe the old file are not. Broken EXIF data, and those
      that are too large for JPEG, are dropped with a warning in the log.
    - BMP has no ICC profile and no EXIF data, and a TIFF with 16 bits has no EXIF data.

    Args:
        image: the image.
        format: one of the values of `keras_recon.images.FORMATS`; `image.format` if None.

    Example:
    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.encode_image(image)[1:4], keras_recon.images.encode_image(image, "JPEG")[:2]
    (b'PNG', b'\xff\xd8')
    """
    return _encode(image, format or image.format, "an image")


def write_image(path: str | Path, image: ImageFile):
    """Write an image file atomically, in the format of the path's suffix, see `encode_image`.

    Args:
        path: its suffix must be in `keras_recon.images.FORMATS`.
        image: the image.

    Example:
    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("photos/night.webp", image)
    >>> keras_recon.images.read_image("photos/night.webp").pixels.shape
    (48, 64, 3)
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"`path` must end with one of {list(FORMATS)}. Received: path={str(path)!r}")
    with replacing(path) as temporary:
        temporary.write_bytes(_encode(image, FORMATS[suffix], path))


def write_error_map(path: str | Path, levels: np.ndarray):
    """Write an error map as a PNG with the colours of matplotlib's inferno, from black over red to yellow.

    Args:
        path: the file.
        levels: uint8 (height, width).

    Example:
    >>> levels = np.arange(256, dtype="uint8").reshape(16, 16)
    >>> keras_recon.images.write_error_map("errors.png", levels)
    >>> keras_recon.images.read_image("errors.png").pixels[0, 0].tolist()  # inferno starts at black
    [0, 0, 3]
    """
    from matplotlib import colormaps  # slow to import

    picture = Image.fromarray(levels)
    picture.putpalette(colormaps["inferno"](range(256), bytes=True)[:, :3].tobytes())
    with replacing(path) as temporary:
        picture.save(temporary, compress_level=1)


def _encode(image, format, name):
    if format not in FORMATS.values():
        raise ValueError(f"`format` must be one of {sorted({*FORMATS.values()})}. Received: format={format!r}")
    array = image.array
    if array.dtype == np.uint16 and format not in WITH_16_BITS:
        array = from_float(to_float(array), np.uint8)
    if array.shape[2] == 2 and (format == "PNG" or array.dtype == np.uint16):
        array = array[..., [0, 0, 0, 1]]
    if image.alpha is not None and format not in WITH_ALPHA:
        array = to_channels(array, image.pixels.shape[2])
    profile = profile_of(image.icc_profile, 1 if array.shape[2] < 3 else 3)
    if format == "TIFF" and array.dtype == np.uint16:
        return tiff.encode(array, profile)
    exif = _exif(image, format, name)
    if format == "PNG":
        return png.encode(array, profile, exif and exif.tobytes())
    metadata = {kind: data for kind, data in (("icc_profile", profile), ("exif", exif)) if data}
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(buffer, format, **LOSSY, **metadata)
    return buffer.getvalue()


def _exif(image, format, name):
    """Return the EXIF data to write; None if there are none, or if they are broken or too large."""
    if not image.exif or format == "BMP":
        return None
    try:
        exif = _descriptive(image.exif) or None
    except Exception as error:  # of any type
        logger.warning("%s gets no EXIF data: the EXIF data of the photo are broken (%s)", shown(name), error)
        return None
    if exif and len(exif.tobytes()) > MOST_EXIF.get(format, math.inf):
        logger.warning("%s gets no EXIF data: %s takes at most 64 KB", shown(name), format)
        return None
    return exif


def _descriptive(data: bytes) -> Image.Exif:
    """Return the EXIF data that describe the photo. Broken data raise errors of any type."""
    given, kept = Image.Exif(), Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow would skip broken data with a warning
        given.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
        for tag in given.keys() & DESCRIPTIVE:
            kept[tag] = _text(given[tag])
        for ifd in (IFD.Exif, IFD.GPSInfo):
            values = {tag: _text(value) for tag, value in given.get_ifd(ifd).items() if tag not in OF_PIXELS}
            if values:
                kept.get_ifd(ifd).update(values)
                kept[ifd] = kept.get_ifd(ifd)  # TIFF needs the tag itself too
        kept.tobytes()  # raises the errors of broken values
        return kept


def _text(value):
    """Undo Pillow's reading of text as Latin-1, because it writes text as ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value
