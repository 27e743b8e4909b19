"""TIFF, read and written with tifffile, which returns the stored samples: here they become gray or RGB."""

import io
import logging
import math
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from keras_recon.images.decoding import check_size, identify
from keras_recon.images.pixels import check_levels, cmyk_to_rgb

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COLOURS = dict.fromkeys((PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.PALETTE), 1)
COLOURS |= {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}
OF_LIBTIFF = (COMPRESSION.OJPEG, COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
PLAIN = [COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS]
PLAIN += [COMPRESSION.LZMA, COMPRESSION.ZSTD]
SIZED = (COMPRESSION.JPEG, COMPRESSION.WEBP)  # each segment has a header with a size, which can exceed the tile's
PADDING = 2**20  # pixels by which a segment may exceed its tile, as JPEG's blocks do
ORIENTATION, INK_SET, CMYK = 274, 332, 1
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs every tag of a broken file


def decode(file: BinaryIO, max_megapixels: float) -> tuple[np.ndarray, int, int, str, dict] | None:
    """Decode the first image of a TIFF file.

    Returns:
        The array as it is stored, uint8 or uint16 (height, width, channels), gray or RGB, with alpha if there is one;
        the number of colour channels; the EXIF orientation; the format; the ICC profile in a dictionary. None for the
        few kinds that Pillow decodes better, with libtiff: YCbCr without JPEG, old JPEG, and faxes.
    """
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.photometric not in COLOURS or page.compression in OF_LIBTIFF:
            return None
        if page.photometric == PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG:
            return None
        _check(page, file, max_megapixels)
        samples = page.asarray(squeeze=False)[:, 0]  # (planes, height, width, samples); planes or samples is 1
        samples = np.moveaxis(samples, 0, -1).reshape(*samples.shape[1:3], -1) if len(samples) > 1 else samples[0]
        count = COLOURS[page.photometric]
        colours, alpha = samples[..., :count], _alpha(page, samples, count)
        if alpha is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            colours = _unpremultiplied(colours, alpha, _top(page))
        colours, alpha = _levels(page, colours), None if alpha is None else _scaled(page, alpha)
        if page.photometric == PHOTOMETRIC.SEPARATED:
            colours = cmyk_to_rgb(colours, page.iccprofile)
        if alpha is not None and alpha.dtype != colours.dtype:  # palettes and profiles give 8 bits
            alpha = (alpha // 257).astype("uint8")
        array = colours if alpha is None else np.concatenate([colours, alpha], axis=2)
        orientation = page.tags.valueof(ORIENTATION, 1)
        return array, colours.shape[2], orientation, "TIFF", {"icc_profile": page.iccprofile}


def encode(array: np.ndarray, profile: bytes | None) -> bytes:
    """Encode uint16 (height, width, 1, 3 or 4)."""
    channels = array.shape[2]
    kind = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb", "planarconfig": "contig"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    array, buffer = array.squeeze(2) if channels == 1 else array, io.BytesIO()
    tifffile.imwrite(buffer, array, compression="zlib", iccprofile=profile, **kind)
    return buffer.getvalue()


def _check(page, file, max_megapixels):
    """Raise a ValueError for pixels that the file cannot hold, and for samples whose white level is unknown."""
    check_size(page.imagewidth, page.imagelength, max_megapixels, page.dtype.itemsize if page.dtype else 1)
    most = max(4 * page.imagewidth * page.imagelength, 2**24)
    if 0 in page.shaped or page.imagedepth != 1 or page.tilewidth * page.tilelength > most:
        raise ValueError("it must be a flat image with tiles that are not larger than it")
    size = file.seek(0, io.SEEK_END)
    segments = [*zip(page.dataoffsets, page.databytecounts)]
    in_file = [count > 0 and offset + count <= size for offset, count in segments]
    if not page.is_contiguous and not (all(in_file) and len(in_file) >= math.prod(page.chunked)):
        raise ValueError("parts of its pixels are not in the file")  # tifffile would decode them as black
    if page.compression not in (*PLAIN, *SIZED):
        names = ", ".join(compression.name for compression in (*PLAIN, *SIZED))
        raise ValueError(f"its compression must be one of {names}. Received: {page.compression!r}")
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
    ink_set = page.tags.valueof(INK_SET, CMYK)
    if extra < 0 or (extra > 1 and COLOURS[page.photometric] == 1) or ink_set != CMYK:
        raise ValueError(f"it must be gray, RGB or CMYK. Received: {page.samplesperpixel} samples per pixel")


def _alpha(page, samples, count):
    """Return the first extra sample that is alpha, (height, width, 1), or None.

    Like in Pillow, an extra sample without a description is alpha.
    """
    kinds = page.extrasamples or (EXTRASAMPLE.UNASSALPHA,) * (samples.shape[2] - count)
    for index, kind in enumerate(kinds, start=count):
        if kind in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA):
            return samples[..., index : index + 1]
    return None


def _unpremultiplied(colours, alpha, top):
    """Divide colours by alpha, in the same dtype. Fully transparent pixels become 0."""
    quotient = np.where(alpha > 0, colours * (top / np.where(alpha > 0, alpha, 1).astype("float64")), 0).clip(0, top)
    return (quotient if colours.dtype.kind == "f" else np.rint(quotient)).astype(colours.dtype)


def _levels(page, samples):
    """Convert stored colours to uint8 or uint16 with black at 0."""
    if page.photometric == PHOTOMETRIC.PALETTE:
        return (page.colormap.T[samples[..., 0].astype("intp")] // 256).astype("uint8")
    levels = _scaled(page, samples)
    return np.iinfo(levels.dtype).max - levels if page.photometric == PHOTOMETRIC.MINISWHITE else levels


def _scaled(page, samples):
    """Scale samples to uint8, or to uint16 if they have more than 8 bits."""
    kind, bits, top = samples.dtype.kind, page.bitspersample, _top(page)
    if bits in (8, 16) and kind == "u":
        return samples
    if kind != "b":
        check_levels(samples, top)
    dtype = np.uint8 if kind == "f" or bits <= 8 else np.uint16
    return np.rint(samples * (np.iinfo(dtype).max / np.float64(top))).astype(dtype)


def _top(page):
    """Return the level of white. For signed integers it is 65535, because Pillow writes 16 bits as signed integers."""
    return {"f": 1, "i": 65535}.get(page.dtype.kind, 2**page.bitspersample - 1)
