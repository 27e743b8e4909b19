"""JPEG, WebP and AVIF at as many bytes as models need, without headers, which models have none of either."""

import io
import struct
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from keras import ops
from PIL import Image, features

from keras_recon import metrics

# With Pillow's options; the default of JPEG and AVIF is 4:2:0 chroma. Not every Pillow has AVIF.
CODECS = {"jpeg": {}, "webp": {"method": 6}, **({"avif": {}} if features.check("avif") else {})}
CURVE_QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
START_OF_SCAN = 0xDA
# The bytes before the data: tags, dimensions (RFC 6386, 9.1); the alpha chunk's method (WebP Container Specification).
WEBP_HEADERS = {b"VP8 ": 10, b"ALPH": 1}
FRAME = 6  # the type of an open bitstream unit of AV1 (AV1 Bitstream Specification, 5.3)


def transmit(images: np.ndarray, codec: str, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (images, height, width, channels) in [0, 1] through a codec of `CODECS`: decoded images, bytes of each.

    The bytes are those of the coded data, see `payload`.
    """

    def through(image):
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        file = io.BytesIO()
        picture.save(file, codec, quality=quality, **CODECS[codec])
        with Image.open(file) as received:
            decoded = np.asarray(received.convert(picture.mode)).reshape(image.shape)
        return decoded, payload(file.getvalue())

    with ThreadPoolExecutor() as threads:  # Pillow codes without Python's lock
        decoded, sizes = zip(*threads.map(through, np.rint(ops.convert_to_numpy(images) * 255).astype("uint8")))
    return np.stack(decoded).astype("float32") / 255, np.array(sizes)


def payload(file: bytes) -> int:
    """Bytes of a JPEG, lossy WebP or AVIF file that depend on the image's content.

    Of a baseline JPEG the entropy-coded data; sender and receiver agree on the standard Huffman tables and on a
    quality. Of WebP the VP8 data with the probability tables in it, and the alpha channel's; of AVIF the frames of AV1.
    """
    if file[4:8] == b"ftyp":
        start = file.index(b"mdat") + 4  # the last box
        return sum(size for kind, size in _av1_units(file[start:]) if kind == FRAME)
    if file[:4] == b"RIFF":
        chunks, position = 0, 12
        while position < len(file):
            name, size = struct.unpack_from("<4sI", file, position)
            chunks += size - WEBP_HEADERS[name] if name in WEBP_HEADERS else 0
            position += 8 + size + size % 2
        return chunks
    position = 2
    while True:
        marker, size = struct.unpack_from(">xBH", file, position)
        position += 2 + size
        if marker == START_OF_SCAN:
            return len(file) - position - 2  # the end of the image is a marker too


def _av1_units(data):
    """Type and bytes of each open bitstream unit, without their headers."""
    position = 0
    while position < len(data):
        kind, extended = data[position] >> 3 & 15, data[position] >> 2 & 1
        position, size, shift = position + 1 + extended, 0, 0
        while True:  # LEB128
            byte = data[position]
            position, size, shift = position + 1, size | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        yield kind, size
        position += size


class Coded(NamedTuple):
    """A codec at a quality: means over images of the bytes and of the PSNR in dB."""

    quality: int
    bytes: float
    psnr: float


def at_bytes(codec: str, images: np.ndarray, budget: float) -> tuple[Coded | None, list[Coded]]:
    """The greatest quality, from 1 to 100, at which `codec` needs at most `budget` mean bytes per image.

    Returns:
        It, or None if the lowest quality needs more, and the curve over qualities up to twice the budget.
    """

    @cache
    def code(quality):
        decoded, sizes = transmit(images, codec, quality)
        psnr = ops.convert_to_numpy(metrics.psnr(images, decoded))
        return Coded(quality, float(sizes.mean()), float(psnr.mean(dtype="float64")))

    within = bisect_right(range(1, 101), budget, key=lambda quality: code(quality).bytes)
    curve = map(code, sorted({*CURVE_QUALITIES, within} - {0}))
    return code(within) if within else None, list(takewhile(lambda c: c.quality == 1 or c.bytes <= 2 * budget, curve))
