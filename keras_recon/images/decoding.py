"""What a file claims is bounded by what it can hold, before any memory is taken for it."""

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

MAX_MEGAPIXELS = 250
DEFLATE = 1032  # times: the most that its codes of at least a bit make of a file
# Pixels that a byte can hold. JPEG: a block of 64 has a code of at least a bit. GIF: a code of 12 bits stands for 4096
# pixels at most. BMP: a run of 2 bytes for 255.
MOST_PIXELS = {"JPEG": 8 * 64, "MPO": 8 * 64, "GIF": 4096 / 1.5, "BMP": 128}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
NEEDED = 12  # bytes a pixel and 8 bits of depth, while it is decoded: Pillow has 4, the array 3 or 4, what is turned 4
ALWAYS_THERE = 2**28  # bytes that nobody asks for
CGROUP = Path("/sys/fs/cgroup")


def check_size(width: int, height: int, max_megapixels: float, bytes_per_sample: int = 1):
    """Refuse an image that has too many pixels, or more than fit into the memory that is left."""
    if width * height > max_megapixels * 1e6:
        raise ValueError(f"it must have at most {max_megapixels:g} megapixels. Received: {width}x{height} pixels")
    need = width * height * NEEDED * bytes_per_sample
    if need > ALWAYS_THERE and need > (room := memory_left()):
        raise ValueError(
            f"it takes {need / 1e9:.1f} GB, of which {room / 1e9:.1f} are left. Received: {width}x{height} pixels"
        )


def check_claim(image: Image.Image, header: bytes, size: int):
    """Refuse an opened image with more pixels than a file of so many bytes can hold, by its format.

    WebP has no such bound, as it describes areas.
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
    """Bytes of memory that are left on the machine, or to the control group of a container."""
    room = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # there is no such group, or no limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        room = min(room, limit - used + int(statistics["inactive_file"]))  # cached files make way
    return room


# The formats that are written, in Pillow's words, by the suffix of the file.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# Suffixes of the files that `read_image` decodes, in lower case.
SUFFIXES = (*FORMATS, ".gif", ".avif", ".heic", ".heif")
# What is read, in Pillow's words. Whatever a file is called, Pillow would take it for any of its 40 formats, and start
# Ghostscript for some.
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
# What such files begin with, from their fourth byte on.
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
COLOR_SPACES = {1: b"GRAY", 3: b"RGB "}  # in the words of an ICC profile, by the channels of the pixels


class BadImage(ValueError):
    """An image that cannot be used, in one sentence; `reason` is the part that does not name it.

    Example:

    >>> keras_recon.images.read_image(b"no image")
    Traceback (most recent call last):
        ...
    keras_recon.images.decoding.BadImage: Cannot read the image: cannot identify image file: it is none of ...
    """

    def __init__(self, reason: str, name: str | Path | None = None):
        self.reason = " ".join(reason.split())
        super().__init__(f"Cannot read the image{'' if name is None else f' {shown(name)}'}: {self.reason}")


@dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: uint8 or uint16 (height, width, 1 or 3), gray or RGB.
        alpha: of the same type, (height, width, 1); None for an opaque image.
        icc_profile: of the pixels; None if it has none.
        exif: as the file has it, of which `encode_image` takes what describes the photo; None if it has none.
        format: to write it back in: the file's own, or PNG where that is not in `FORMATS`.

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
        """`pixels` and behind them `alpha`, if there is one: (height, width, 1 to 4)."""
        return self.pixels if self.alpha is None else np.concatenate([self.pixels, self.alpha], axis=2)

    def of_channels(self, channels: int) -> np.ndarray:
        """What a model of so many channels sees: `pixels`, or for 4 channels RGB with alpha.

        Colours of pixels that are fully transparent are arbitrary: those of the nearest pixels that are not stand
        there, so that a model does not spread the others over visible edges.
        """
        pixels = self.pixels if self.alpha is None else fill_hidden(self.pixels, self.alpha)
        if channels < 4:
            return pixels
        opaque = np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)
        colours = np.repeat(pixels, 3 // pixels.shape[2], axis=2)
        return np.concatenate([colours, opaque if self.alpha is None else self.alpha], axis=2)

    def in_8_bits(self, channels: int) -> np.ndarray:
        """What a training sees: uint8 (height, width, channels), see `keras_recon.images.pixels.to_channels`."""
        array = self.array if self.pixels.dtype == np.uint8 else from_float(to_float(self.array), np.uint8)
        return array if self.alpha is None and array.shape[2] == channels else to_channels(array, channels)

    def replace_pixels(self, output: np.ndarray):
        """Take what a model made of `of_channels`, of any size; an opaque image stays one."""
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
    """The binary file of a path or of bytes. Whatever reading it in the block raises becomes a BadImage."""
    is_bytes = isinstance(source, bytes)
    try:
        # Decoders get no path: Pillow would map the file into memory, where it reads turned TIFFs wrongly, and OpenCV
        # takes the process down where a path is no UTF-8.
        with io.BytesIO(source) if is_bytes else open(source, "rb") as file:
            yield file
    except Exception as error:  # broken files take decoders to errors of any kind
        known = isinstance(error, (OSError, ValueError)) and str(error)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise BadImage(reason, None if is_bytes else source) from error


@contextmanager
def open_image(source: str | Path | bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Iterator[Image.Image]:
    """A file, or its bytes, as a Pillow image. Whatever decoding it in the block raises becomes a BadImage.

    Images of more than `max_megapixels` are refused by their header, and so are those that claim more pixels than a
    file of that size can hold, or than there is memory for.

    Example:

    >>> data = keras_recon.images.encode_image(keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> with keras_recon.images.open_image(data) as image:
    ...     image.size, image.mode
    ((64, 48), 'RGB')
    """
    with open_file(source) as file, identify(file, max_megapixels) as image:
        yield image


def identify(file: BinaryIO, max_megapixels: float) -> Image.Image:
    """As `Image.open`, but for its bound of the pixels, which is the whole process's."""
    _learn_formats()
    header, size, flaw = file.read(32), file.seek(0, io.SEEK_END), None
    for format in READABLE:
        factory, accept = Image.OPEN.get(format, (None, None))
        if accept and accept(header) is True:
            file.seek(0)
            try:
                image = factory(file, "")
            except SyntaxError as error:  # of AVIF for HEIC, which may begin alike
                flaw = error
                continue
            check_size(*image.size, max_megapixels)
            check_claim(image, header, size)
            return image
    if header[4:12] in HEIC and "HEIF" not in Image.OPEN:
        raise ValueError("HEIC needs the package pillow-heif, of the extra `heif`: pip install -e '.[heif]'")
    raise flaw or ValueError(f"cannot identify image file: it is none of {', '.join(READABLE)}")


@lru_cache
def _learn_formats():
    """Load Pillow's formats, and that of pillow-heif where it is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def profile_of(profile: bytes | None, channels: int) -> bytes | None:
    """The ICC profile, without bytes behind it, if it is whole and one of so many channels."""
    size = int.from_bytes(profile[:4], "big") if profile else 0  # as its header has it
    return profile[:size] if 128 <= size <= len(profile) and profile[16:20] == COLOR_SPACES[channels] else None
