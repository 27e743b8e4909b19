"""TIFF, decoded by tifffile: its arrays are what the file holds, and here they become gray or RGB."""

import io
import logging
import math
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from keras_recon.images.decoding import check_size, identify
from keras_recon.images.pixels import cmyk_to_rgb

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
OF_LIBTIFF = (COMPRESSION.OJPEG, COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
# What decoders are told the size for; those of the second kind have one of their own in every tile.
PLAIN = [COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS]
PLAIN += [COMPRESSION.LZMA, COMPRESSION.ZSTD]
SIZED = (COMPRESSION.JPEG, COMPRESSION.WEBP)
PADDING = 2**20  # pixels, at most: JPEG's blocks reach beyond a tile
ORIENTATION, INK_SET, CMYK = 274, 332, 1
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it tells of every tag of a broken file


def decode(file: BinaryIO, max_megapixels: float) -> tuple[np.ndarray, int, int, bytes | None] | None:
    """The first image of a file.

    Returns:
        uint8 or uint16 (height, width, channels) of gray or RGB, with alpha where there is transparency, as it lies in
        the file; how many of the channels are colours; its orientation as EXIF has it; its ICC profile. None for the
        few kinds that libtiff decodes, and tifffile does not or less well: YCbCr other than JPEG's, old JPEG, faxes.
    """
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        jpeg = page.compression == COMPRESSION.JPEG
        if page.photometric not in COLOURS or page.compression in OF_LIBTIFF:
            return None
        if page.photometric == PHOTOMETRIC.YCBCR and not jpeg:  # JPEG's becomes RGB
            return None
        _check(page, file, max_megapixels)
        samples = page.asarray(squeeze=False)[:, 0]  # (planes, height, width, samples), one or the other 1
        samples = np.moveaxis(samples, 0, -1).reshape(*samples.shape[1:3], -1) if len(samples) > 1 else samples[0]
        count = COLOURS[page.photometric]
        colours, alpha = samples[..., :count], _alpha(page, samples, count)
        if alpha is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            colours = _unpremultiplied(colours, alpha, _top(page))
        colours, alpha = _levels(page, colours), None if alpha is None else _scaled(page, alpha)
        profile = page.iccprofile
        if page.photometric == PHOTOMETRIC.SEPARATED:
            colours = cmyk_to_rgb(colours, profile)
        if alpha is not None and alpha.dtype != colours.dtype:  # palettes and profiles give 8 bits
            alpha = (alpha // 257).astype("uint8")
        orientation = page.tags.get(ORIENTATION)
    array = colours if alpha is None else np.concatenate([colours, alpha], axis=2)
    return array, colours.shape[2], orientation.value if orientation else 1, profile


def _check(page, file, max_megapixels):
    """Refuse what the file cannot hold, and samples whose levels nobody can tell."""
    check_size(page.imagewidth, page.imagelength, max_megapixels, max(1, page.dtype.itemsize if page.dtype else 1))
    if (
        0 in page.shaped
        or page.imagedepth != 1
        or page.tilewidth * page.tilelength > max(4 * page.imagewidth * page.imagelength, 2**24)
    ):
        raise ValueError("it is no image of a plane, or its tiles are larger than it")
    size = file.seek(0, io.SEEK_END)
    segments = [*zip(page.dataoffsets, page.databytecounts)]
    in_file = [count > 0 and offset + count <= size for offset, count in segments]
    if not page.is_contiguous and not (all(in_file) and len(in_file) >= math.prod(page.chunked)):
        raise ValueError("parts of its pixels are not in the file")  # tifffile would leave them black
    if page.compression not in (*PLAIN, *SIZED):
        raise ValueError(f"its compression must be a usual one. Received: {page.compression!r}")
    if page.compression in SIZED:
        for offset, count in segments:
            file.seek(offset)
            with identify(io.BytesIO(file.read(count)), max_megapixels) as image:
                if image.width * image.height > math.prod(page.chunks) + PADDING:
                    raise ValueError(f"a part of {page.chunks} pixels claims {image.height}x{image.width}")
    kind, bits = page.dtype.kind if page.dtype else "", page.bitspersample
    if kind not in (*"buif",) or not isinstance(bits, int) or (kind == "i" and bits <= 8):
        raise ValueError(f"its samples must be unsigned integers or floats. Received: {bits} bits of {page.dtype}")
    extra = page.samplesperpixel - COLOURS[page.photometric]
    ink_set = page.tags.get(INK_SET)
    if extra < 0 or (extra > 1 and COLOURS[page.photometric] == 1) or (ink_set and ink_set.value != CMYK):
        raise ValueError(f"it must be gray, RGB or CMYK. Received: {page.samplesperpixel} samples a pixel")


def _levels(page, samples):
    """Colours in uint8 or uint16, black at 0."""
    if page.photometric == PHOTOMETRIC.PALETTE:
        return (page.colormap.T[samples[..., 0].astype("intp")] // 256).astype("uint8")
    levels = _scaled(page, samples)
    return np.iinfo(levels.dtype).max - levels if page.photometric == PHOTOMETRIC.MINISWHITE else levels


def _alpha(page, samples, count):
    """(height, width, 1), the first extra sample that is one; None if none is.

    As Pillow has it, a fourth sample beside RGB that nothing is said of is alpha.
    """
    kinds = page.extrasamples or (EXTRASAMPLE.UNASSALPHA,) * (samples.shape[2] - count)
    for index, kind in enumerate(kinds, start=count):
        if kind in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA):
            return samples[..., index : index + 1]
    return None


def _unpremultiplied(colours, alpha, top):
    """Colours that were stored as their product with alpha, of the same type; 0 where alpha is."""
    quotient = np.where(alpha > 0, colours * (top / np.where(alpha > 0, alpha, 1).astype("float64")), 0).clip(0, top)
    return (quotient if colours.dtype.kind == "f" else np.rint(quotient)).astype(colours.dtype)


def _scaled(page, samples):
    """In uint8 or, from 9 bits on, uint16."""
    kind, bits, top = samples.dtype.kind, page.bitspersample, _top(page)
    if bits in (8, 16) and kind == "u":
        return samples
    if kind != "b" and not (samples.min() >= 0 and samples.max() <= top):  # not a number is neither
        raise ValueError(f"pixels must be from 0 to {top}. Received: values from {samples.min()} to {samples.max()}")
    dtype = np.uint8 if kind == "f" or bits <= 8 else np.uint16
    return np.rint(samples * (np.iinfo(dtype).max / np.float64(top))).astype(dtype)


def _top(page):
    """White. Nobody tells what that of signed integers is: Pillow writes 16 bits as such."""
    return {"f": 1, "i": 65535}.get(page.dtype.kind, 2**page.bitspersample - 1)


def encode_16_bits(array: np.ndarray, profile: bytes | None) -> bytes:
    """A TIFF of uint16 (height, width, 1, 3 or 4)."""
    channels = array.shape[2]
    kind = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb", "planarconfig": "contig"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, array.squeeze(2) if channels == 1 else array, compression="zlib", iccprofile=profile, **kind
    )
    return buffer.getvalue()
