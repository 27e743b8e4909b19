"""Open image files safely: formats, limits on what a header may claim, and the decoded image."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
from PIL import Image

from keras_recon.images.pixels import fill_hidden, from_float, resize_bicubic, to_channels, to_float
from keras_recon.utils.tables import shown

# Formats that are written, by suffix, under Pillow's names.
FORMATS = dict.fromkeys((".jpg", ".jpeg"), "JPEG") | dict.fromkeys((".tif", ".tiff"), "TIFF")
FORMATS = {".png": "PNG", **FORMATS, ".webp": "WEBP", ".bmp": "BMP"}
# Suffixes of the files that `read_image` decodes, in lower case.
SUFFIXES = (*FORMATS, ".gif", ".avif", ".heic", ".heif")
# Formats that are read. Pillow itself would open any of its 40 formats under any suffix, and run Ghostscript for some.
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")  # bytes 4 to 11 of such files
COLOR_SPACES = {1: b"GRAY", 3: b"RGB "}  # names in an ICC profile, by number of channels

MAX_MEGAPIXELS = 250
DEFLATE = 1032  # the largest compression ratio of zlib
# The most pixels per byte of a file. JPEG: a block of 64 pixels has a code of at least one bit. GIF: a code of 12 bits
# stands for at most 4096 pixels. BMP: a run of 2 bytes stands for 255 pixels.
MOST_PIXELS = {"JPEG": 8 * 64, "MPO": 8 * 64, "GIF": 4096 / 1.5, "BMP": 128}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Bytes per pixel while 8 bits are decoded: 4 in Pillow, 3 or 4 in the array, 4 in its rotated copy.
BYTES_PER_PIXEL = 12
ALWAYS_THERE = 2**28  # bytes: smaller images are decoded without a look at the available memory
CGROUP = Path("/sys/fs/cgroup")


class BadImage(ValueError):
    """An image file that cannot be used.

    Args:
        reason: what is wrong with the file; also an attribute, without the file's name.
        name: the file's path, if it has one.

    Example:
    >>> keras_recon.images.read_image(b"no image")
    Traceback (most recent call last):
        ...
    keras_recon.images.decoding.BadImage: Cannot read the image: cannot identify image file: its format must be ...
    """

    def __init__(self, reason: str, name: str | Path | None = None):
        self.reason = " ".join(reason.split())
        super().__init__(f"Cannot read the image{'' if name is None else f' {shown(name)}'}: {self.reason}")


@dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: gray or RGB, uint8 or uint16 (height, width, 1 or 3).
        alpha: (height, width, 1) of the same dtype, or None for an opaque image.
        icc_profile: the colour profile of the pixels, or None.
        exif: the EXIF data of the file, or None. `encode_image` writes the part that describes the photo.
        format: the format to write the image in: the file's own if it is in `FORMATS`, else PNG.

    Example:
    >>> pixels = np.zeros((48, 64, 3), "uint8")
    >>> image = keras_recon.images.ImageFile(pixels, alpha=np.full((48, 64, 1), 255, "uint8"))
    >>> image.of_channels(4).shape, image.format
    ((48, 64, 4), 'PNG')
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"

    @property
    def array(self) -> np.ndarray:
        """`pixels`, followed by `alpha` if there is one: (height, width, 1 to 4)."""
        return self.pixels if self.alpha is None else np.concatenate([self.pixels, self.alpha], axis=2)

    def of_channels(self, channels: int) -> np.ndarray:
        """Return the input of a model: `pixels` for 1 or 3 channels, RGB with alpha for 4 channels.

        The colours of fully transparent pixels are arbitrary. They are replaced with those of the nearest visible
        pixels, so that a model does not spread them over visible edges.
        """
        pixels = self.pixels if self.alpha is None else fill_hidden(self.pixels, self.alpha)
        if channels < 4:
            return pixels
        opaque = np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)
        colours = np.repeat(pixels, 3 // pixels.shape[2], axis=2)
        return np.concatenate([colours, opaque if self.alpha is None else self.alpha], axis=2)

    def in_8_bits(self, channels: int) -> np.ndarray:
        """Return uint8 (height, width, channels) for training, see `keras_recon.images.pixels.to_channels`."""
        array = self.array if self.pixels.dtype == np.uint8 else from_float(to_float(self.array), np.uint8)
        return array if self.alpha is None and array.shape[2] == channels else to_channels(array, channels)

    def replace_pixels(self, output: np.ndarray):
        """Take a model's output for `of_channels`, which may have another size. An opaque image stays opaque."""
        self.pixels = output[..., :3]
        self.icc_profile = profile_of(self.icc_profile, self.pixels.shape[2])
        if output.shape[2] == 4 and self.alpha is not None:
            self.alpha = output[..., 3:]
        elif self.alpha is not None and self.alpha.shape[:2] != output.shape[:2]:
            top = np.iinfo(self.alpha.dtype).max
            alpha = resize_bicubic(self.alpha.astype("float32"), output.shape[:2])
            self.alpha = alpha.round().clip(0, top).astype(self.alpha.dtype)


@contextmanager
def open_file(source: str | Path | bytes) -> Iterator[BinaryIO]:
    """Open a path or bytes as a binary file. Any error in the block becomes a BadImage."""
    is_bytes = isinstance(source, bytes)
    try:
        # Decoders get no path: Pillow would map the file into memory, where it reads rotated TIFFs wrongly, and OpenCV
        # ends the process if the path is not UTF-8.
        with io.BytesIO(source) if is_bytes else open(source, "rb") as file:
            yield file
    except Exception as error:  # decoders raise errors of any type for broken files
        known = isinstance(error, (OSError, ValueError)) and str(error)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise BadImage(reason, None if is_bytes else source) from error


@contextmanager
def open_image(source: str | Path | bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Iterator[Image.Image]:
    """Open an image file, or its bytes, with Pillow. Any error in the block becomes a BadImage.

    Args:
        source: a path, or the bytes of a file.
        max_megapixels: images with more pixels raise a BadImage before any memory is allocated. So do images with more
            pixels than the file's bytes can hold, or than fit into the available memory.

    Example:
    >>> data = keras_recon.images.encode_image(keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> with keras_recon.images.open_image(data) as image:
    ...     image.size, image.mode
    ((64, 48), 'RGB')
    """
    with open_file(source) as file, identify(file, max_megapixels) as image:
        yield image


def identify(file: BinaryIO, max_megapixels: float) -> Image.Image:
    """Open a file like `Image.open`, with limits per call: Pillow's pixel limit is global."""
    _register_formats()
    file.seek(0)
    header, size, flaw = file.read(32), file.seek(0, io.SEEK_END), None
    for format in READABLE:
        factory, accept = Image.OPEN.get(format, (None, None))
        if accept and accept(header) is True:
            file.seek(0)
            try:
                image = factory(file, "")
            except SyntaxError as error:  # raised by AVIF for HEIC files, which can begin alike
                flaw = error
                continue
            check_size(*image.size, max_megapixels)
            _check_claim(image, header, size)
            return image
    if header[4:12] in HEIC and "HEIF" not in Image.OPEN:
        raise ValueError("HEIC needs the package pillow-heif, of the extra `heif`: pip install -e '.[heif]'")
    raise flaw or ValueError(f"cannot identify image file: its format must be one of {', '.join(READABLE)}")


@lru_cache
def _register_formats():
    """Load Pillow's formats, and HEIF if pillow-heif is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def check_size(width: int, height: int, max_megapixels: float, bytes_per_sample: int = 1):
    """Raise a ValueError for an image that exceeds `max_megapixels` or the available memory."""
    if width * height > max_megapixels * 1e6:
        raise ValueError(f"it must have at most {max_megapixels:g} megapixels. Received: {width}x{height} pixels")
    need = width * height * BYTES_PER_PIXEL * bytes_per_sample
    if need > ALWAYS_THERE and need > (room := memory_left()):
        raise ValueError(
            f"it needs {need / 1e9:.1f} GB of memory, and {room / 1e9:.1f} GB are available. "
            f"Received: {width}x{height} pixels"
        )


def _check_claim(image: Image.Image, header: bytes, size: int):
    """Raise a ValueError for an image with more pixels than a file of `size` bytes can hold.

    WebP has no such limit, because one code can describe an area.
    """
    if image.format == "PNG":
        bits = header[24] * PNG_CHANNELS[header[25]]
        fits = image.height * math.ceil(image.width * bits / 8) <= DEFLATE * size
    elif image.format == "BMP" and image.tile[0].codec_name == "raw":
        _, stride, _ = image.tile[0].args
        fits = image.height * stride <= size
    else:
        fits = image.width * image.height <= MOST_PIXELS.get(image.format, math.inf) * size
    if not fits:
        raise ValueError(f"its {size} bytes cannot hold its pixels. Received: {image.width}x{image.height} pixels")


def memory_left() -> int:
    """Bytes of memory that are available on the machine, or in the control group of a container."""
    room = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # there is no control group, or it has no limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        room = min(room, limit - used + int(statistics["inactive_file"]))  # the file cache is freed on demand
    return room


def profile_of(profile: bytes | None, channels: int) -> bytes | None:
    """Return an ICC profile without trailing bytes; None if it is incomplete or for other numbers of channels."""
    size = int.from_bytes(profile[:4], "big") if profile else 0
    return profile[:size] if 128 <= size <= len(profile) and profile[16:20] == COLOR_SPACES[channels] else None
