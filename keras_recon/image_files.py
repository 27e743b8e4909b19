"""Image files with what a photo carries beside its pixels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageOps

from keras_recon.files import replacing
from keras_recon.pixels import from_float, to_channels, to_float

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
# What is read, in Pillow's words. Whatever a file is called, Pillow would take it for any of its 40 formats, and start
# Ghostscript for some.
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
WITH_16_BITS = ("PNG", "TIFF")
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
LOSSY = {"quality": 95, "subsampling": 0}  # JPEG and WebP; the latter has no full colour resolution
COLOR_SPACES = {1: b"GRAY", 3: b"RGB "}  # in the words of an ICC profile, by the channels of the pixels


class BadImage(ValueError):
    """An image that cannot be used, in one sentence; `reason` is the part that does not name it."""

    def __init__(self, reason: str, name: str | Path | None = None):
        self.reason = " ".join(reason.split())
        super().__init__(f"Cannot read the image{'' if name is None else f' {shown(name)}'}: {self.reason}")


def shown(name: str | Path) -> str:
    """A name as it is, or quoted if it has line breaks or bytes that are no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


@dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: uint8 or uint16 (height, width, 1 or 3), gray or RGB.
        alpha: of the same type, (height, width, 1); None for an opaque image.
        icc_profile: of the pixels; None if it has none.
        exif: without the orientation, which the pixels have; None if it has none.
        format: to write it back in: the file's own, or PNG where that is not in `FORMATS`.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"

    def of_channels(self, channels: int) -> np.ndarray:
        """What a model of so many channels sees: `pixels`, or for 4 channels RGB with alpha."""
        if channels < 4:
            return self.pixels
        opaque = np.full_like(self.pixels[..., :1], np.iinfo(self.pixels.dtype).max)
        colours = np.repeat(self.pixels, 3 // self.pixels.shape[2], axis=2)
        return np.concatenate([colours, opaque if self.alpha is None else self.alpha], axis=2)

    def replace_pixels(self, output: np.ndarray):
        """Take what a model made of `of_channels`; an opaque image stays one."""
        self.pixels = output[..., :3]
        self.icc_profile = _profile(self.icc_profile, self.pixels.shape[2])
        if output.shape[2] == 4 and self.alpha is not None:
            self.alpha = output[..., 3:]


def read_image(source: str | Path | bytes) -> ImageFile:
    """Decode the first frame of an image file, or of its bytes, upright by its EXIF orientation.

    16 bits per channel stay 16 bits. Palettes, CMYK and other colours become RGB, single bits and floats gray of 8
    bits. What cannot be read raises a BadImage, see `open_image`.
    """
    with open_image(source) as image:
        deep = ";16" in str(image.tile)  # Pillow would keep 8 bits of its colours
        array, gray = (_decode_16_bits if deep else _decode_8_bits)(image, source)
    pixels = array[..., : 1 if gray else 3]
    return ImageFile(
        pixels,
        alpha=array[..., -1:] if array.shape[2] in (2, 4) else None,
        icc_profile=_profile(image.info.get("icc_profile"), pixels.shape[2]),
        exif=image.info.get("exif"),
        format=image.format if image.format in FORMATS.values() else "PNG",
    )


@contextmanager
def open_image(source: str | Path | bytes) -> Iterator[Image.Image]:
    """A file, or its bytes, as a Pillow image. Whatever decoding it in the block raises becomes a BadImage.

    Images of more than twice `PIL.Image.MAX_IMAGE_PIXELS` (179 million pixels, if it is as Pillow has it) are refused
    by their header.
    """
    is_bytes = isinstance(source, bytes)
    try:
        with Image.open(io.BytesIO(source) if is_bytes else source, formats=READABLE) as image:
            yield image
    except Exception as error:  # broken files take decoders to errors of any kind
        known = isinstance(error, (OSError, ValueError)) and str(error)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise BadImage(reason, None if is_bytes else source) from error


def encode_image(image: ImageFile, format: str | None = None) -> bytes:
    """The bytes of an image file, by default in `image.format`.

    PNG and TIFF keep 16 bits, the others get 8. JPEG and BMP show transparency over white. Gray with alpha becomes RGBA
    in PNG and in 16 bits. BMP takes no profile, and a TIFF of 16 bits no EXIF data.
    """
    format = format or image.format
    if format not in FORMATS.values():
        raise ValueError(f"`format` must be one of {sorted({*FORMATS.values()})}. Received: format={format!r}")
    if format == "PNG":
        return cv2.imencodeWithMetadata(".png", *_for_opencv(image))[1].tobytes()
    array = _with_alpha(image)
    if array.dtype == np.uint16 and format not in WITH_16_BITS:
        array = from_float(to_float(array), np.uint8)
    if array.dtype == np.uint16 and array.shape[2] == 2:
        array = array[..., [0, 0, 0, 1]]
    if array.dtype == np.uint16:
        return _encode_16_bit_tiff(array, image)
    if image.alpha is not None and format not in WITH_ALPHA:
        array = to_channels(array, image.pixels.shape[2])
    metadata = {"icc_profile": image.icc_profile, "exif": image.exif}
    metadata = {name: value for name, value in metadata.items() if value}
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(buffer, format, **LOSSY, **metadata)
    return buffer.getvalue()


def write_image(path: str | Path, image: ImageFile):
    """Write an image file, whole or not at all, in the format of the path's suffix, see `encode_image`."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"`path` must end with one of {list(FORMATS)}. Received: path={str(path)!r}")
    with replacing(path) as temporary:
        if FORMATS[suffix] != "PNG":
            temporary.write_bytes(encode_image(image, FORMATS[suffix]))
        elif not cv2.imwriteWithMetadata(str(temporary), *_for_opencv(image)):  # spares the memory of the file's bytes
            raise OSError(f"Cannot write the image {path}")


def write_error_map(path: str | Path, levels: np.ndarray):
    """Write uint8 (height, width) as a PNG of a byte per pixel, from black over red to yellow (inferno)."""
    from matplotlib import colormaps  # half a second to import

    picture = Image.fromarray(levels)
    picture.putpalette(colormaps["inferno"](range(256), bytes=True)[:, :3].tobytes())
    with replacing(path) as temporary:
        picture.save(temporary, compress_level=1)


def _profile(profile, channels):
    """The ICC profile if it is one of so many channels, and not of the colours that were converted."""
    return profile if profile and profile[16:20] == COLOR_SPACES[channels] else None


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


def _with_alpha(image):
    return image.pixels if image.alpha is None else np.concatenate([image.pixels, image.alpha], axis=2)


def _for_opencv(image):
    """Pixels, kinds of metadata and metadata of a PNG, as OpenCV takes them.

    It writes 16-bit colours, which Pillow does not, and takes a half to a tenth of Pillow's time for 8 bits.
    """
    array = _with_alpha(image)
    if array.shape[2] == 2:
        array = array[..., [0, 0, 0, 1]]
    if array.shape[2] > 1:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    metadata = {
        cv2.IMAGE_METADATA_ICCP: _profile(image.icc_profile, min(array.shape[2], 3)),
        cv2.IMAGE_METADATA_EXIF: image.exif and image.exif.removeprefix(b"Exif\x00\x00"),
    }
    metadata = {kind: np.frombuffer(data, "uint8") for kind, data in metadata.items() if data}
    return array, list(metadata), list(metadata.values())


def _encode_16_bit_tiff(array, image):
    channels = array.shape[2]
    kind = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb", "planarconfig": "contig"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    profile = _profile(image.icc_profile, min(channels, 3))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, array.squeeze(2) if channels == 1 else array, compression="zlib", iccprofile=profile, **kind
    )
    return buffer.getvalue()
