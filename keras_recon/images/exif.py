"""EXIF data: of what a photo carries, only what describes it goes into the file that is made of it.

The rest tells how the pixels of the old file lie there, as their size, their strips and a small picture of them: it is
wrong of the new one, or keeps it from being read.
"""

import warnings

from PIL import Image
from PIL.ExifTags import IFD, Base

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
