import io
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from keras_recon.images.files import FORMATS, ImageFile, profile_of
from keras_recon.images.pixels import from_float, to_channels, to_float
from keras_recon.utils.files import replacing

WITH_16_BITS = ("PNG", "TIFF")
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
LOSSY = {"quality": 95, "subsampling": 0}  # JPEG and WebP; the latter has no full colour resolution


def encode_image(image: ImageFile, format: str | None = None) -> bytes:
    """The bytes of an image file, by default in `image.format`.

    PNG and TIFF keep 16 bits, the others get 8. JPEG and BMP show transparency over white. Gray with alpha becomes RGBA
    in PNG and in 16 bits. BMP takes no profile, and a TIFF of 16 bits no EXIF data.

    Example:

    >>> image = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.encode_image(image)[1:4], keras_recon.images.encode_image(image, "JPEG")[:2]
    (b'PNG', b'\xff\xd8')
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
        if FORMATS[suffix] != "PNG":
            temporary.write_bytes(encode_image(image, FORMATS[suffix]))
        elif not cv2.imwriteWithMetadata(str(temporary), *_for_opencv(image)):  # spares the memory of the file's bytes
            raise OSError(f"Cannot write the image {path}")


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
        cv2.IMAGE_METADATA_ICCP: profile_of(image.icc_profile, min(array.shape[2], 3)),
        cv2.IMAGE_METADATA_EXIF: image.exif and image.exif.removeprefix(b"Exif\x00\x00"),
    }
    metadata = {kind: np.frombuffer(data, "uint8") for kind, data in metadata.items() if data}
    return array, list(metadata), list(metadata.values())


def _encode_16_bit_tiff(array, image):
    channels = array.shape[2]
    kind = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb", "planarconfig": "contig"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    profile = profile_of(image.icc_profile, min(channels, 3))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, array.squeeze(2) if channels == 1 else array, compression="zlib", iccprofile=profile, **kind
    )
    return buffer.getvalue()
