"""EXIF data: of what a photo carries, only what describes it goes into the file that is made of it.

The rest tells how the pixels of the old file lie there, as their size, their strips and a small picture of them: it is
wrong of the new one, or keeps it from being read.
"""

import io
import logging
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from keras_recon.images import deep_png, tiff
from keras_recon.images.decoding import FORMATS, ImageFile, profile_of
from keras_recon.images.pixels import from_float, to_channels, to_float
from keras_recon.utils.files import replacing
from keras_recon.utils.tables import shown

DESCRIPTIVE = {
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Copyright,
    Base.Rating,
    Base.RatingPercent,
    Base.XPTitle,
    Base.XPComment,
    Base.XPAuthor,
    Base.XPKeywords,
    Base.XPSubject,
}
OF_PIXELS = {Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset, IFD.Interop}


def descriptive(data: bytes) -> Image.Exif:
    """EXIF data of a photo, without those of its pixels; an error, of any type, where they are broken."""
    given, kept = Image.Exif(), Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # with which Pillow leaves out what is broken
        given.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
        for tag in given.keys() & DESCRIPTIVE:
            kept[tag] = _text(given[tag])
        for ifd in (IFD.Exif, IFD.GPSInfo):
            values = {tag: _text(value) for tag, value in given.get_ifd(ifd).items() if tag not in OF_PIXELS}
            if values:
                kept.get_ifd(ifd).update(values)
                kept[ifd] = kept.get_ifd(ifd)  # without which TIFF would not get it
        kept.tobytes()  # which raises the errors of the values
        return kept


def _text(value):
    """Pillow reads text as Latin-1 and writes it as ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


WITH_16_BITS = ("PNG", "TIFF")
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
MOST_EXIF = {"JPEG": 65_533}  # bytes
LOSSY = {"quality": 95, "subsampling": 0}  # JPEG and WebP; the latter has no full colour resolution
logger = logging.getLogger(__name__)


def encode_image(image: ImageFile, format: str | None = None) -> bytes:
    """The bytes of an image file, by default in `image.format`.

    PNG and TIFF keep 16 bits, the others get 8. EXIF data are those that describe the photo, without what describes its
    file; a warning in the log tells of broken ones, and of those that JPEG cannot take. JPEG and BMP show transparency
    over white. Gray with alpha becomes RGBA in PNG and in 16 bits. BMP takes no profile, and a TIFF of 16 bits no EXIF
    data.

    Example:

    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.encode_image(image)[1:4], keras_recon.images.encode_image(image, "JPEG")[:2]
    (b'PNG', b'\xff\xd8')
    """
    return _encode(image, format or image.format, "an image")


def write_image(path: str | Path, image: ImageFile):
    """Write an image file, whole or not at all, in the format of the path's suffix, see `encode_image`.

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
    """Write uint8 (height, width) as a PNG of a byte per pixel, from black over red to yellow (inferno).

    Example:

    >>> levels = np.arange(256, dtype="uint8").reshape(16, 16)
    >>> keras_recon.images.write_error_map("errors.png", levels)
    >>> keras_recon.images.read_image("errors.png").pixels[0, 0].tolist()  # inferno begins at black
    [0, 0, 3]
    """
    from matplotlib import colormaps  # half a second to import

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
        return tiff.encode_16_bits(array, profile)
    exif = _exif(image, format, name)
    if format == "PNG":
        return deep_png.encode(array, profile, exif and exif.tobytes())
    metadata = {kind: data for kind, data in (("icc_profile", profile), ("exif", exif)) if data}
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(buffer, format, **LOSSY, **metadata)
    return buffer.getvalue()


def _exif(image, format, name):
    """What describes the photo; None if that is nothing, broken, or more than the format takes."""
    if not image.exif or format == "BMP":
        return None
    try:
        exif = descriptive(image.exif) or None
    except Exception as error:  # of any type
        logger.warning("%s gets no EXIF data: those of the photo are broken (%s)", shown(name), error)
        return None
    if exif and len(exif.tobytes()) > MOST_EXIF.get(format, math.inf):
        logger.warning("%s gets no EXIF data: %s takes at most 64 KB", shown(name), format)
        return None
    return exif
