"""PNG with 16 bits, which Pillow reduces to 8. OpenCV writes all PNG files, 2 to 10 times as fast as Pillow."""

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"IDAT", b"IEND")


def decode(data: bytes) -> np.ndarray:
    """Decode a PNG with 16 bits: uint16 (height, width, channels), gray or RGB, with alpha if anything is transparent.

    OpenCV gets only the chunks of the pixels. It misreads animations, orientations and broken metadata, and allocates
    as much memory as a broken chunk claims.
    """
    chunks = [*_chunks(data)]
    pixels = SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks if kind in PIXELS)
    array = cv2.imdecode(np.frombuffer(pixels, "uint8"), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it to 16 bits")
    array = np.atleast_3d(array)
    if array.shape[2] > 1:  # OpenCV has BGR; converted in place to save memory
        cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=array)
    if chunks[0][1][9] == 4:  # OpenCV decodes gray with alpha to RGBA
        array = array[..., 2:]
    if hidden := dict(chunks).get(b"tRNS"):  # the colour that is transparent
        color = struct.unpack(f">{array.shape[2]}H", hidden)
        alpha = np.where((array == color).all(axis=2, keepdims=True), 0, 65535).astype("uint16")
        array = np.concatenate([array, alpha], axis=2)
    return array


def encode(array: np.ndarray, profile: bytes | None, exif: bytes | None) -> bytes:
    """Encode uint8 or uint16 (height, width, 1, 3 or 4)."""
    if array.shape[2] > 1:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, file = cv2.imencode(".png", array)
    if not done:
        raise ValueError(f"OpenCV cannot encode it as PNG. Received: shape={array.shape}, dtype={array.dtype}")
    end = len(SIGNATURE) + 25  # of the header
    # The metadata are inserted here, because libpng writes no file if it finds a profile wrong.
    metadata = [_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))] if profile else []
    metadata += [_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))] if exif else []
    return b"".join([file[:end].tobytes(), *metadata, file[end:].tobytes()])


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _chunks(data) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk."""
    start, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, start)
        content = data[start + 8 : start + 8 + length]
        if len(content) < length:
            raise ValueError(f"Truncated: its chunk {kind} has {len(content)} of {length} bytes")
        if kind in PIXELS and data[start + 8 + length :][:4] != struct.pack(">I", zlib.crc32(kind + content)):
            raise ValueError(f"the checksum of its chunk {kind} is wrong")
        yield kind, content
        start += 12 + length
