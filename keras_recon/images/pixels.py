"""Conversions of pixels: number formats, channels, colours and sizes."""

import io

import cv2
import numpy as np
from PIL import Image, ImageCms
from scipy.ndimage import distance_transform_edt

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's modes by number of channels


def to_float(image: np.ndarray) -> np.ndarray:
    """Convert uint8, uint16 or float to float32 with black at 0 and white at 1."""
    if np.issubdtype(image.dtype, np.floating):
        return image.astype("float32")
    return np.divide(image, np.iinfo(image.dtype).max, dtype="float32")


def from_float(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Clip float pixels to [0, 1] and convert them: rounded to uint8 or uint16, or to another float type."""
    image = np.clip(image, 0.0, 1.0)
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    image *= np.iinfo(dtype).max
    return np.rint(image, out=image).astype(dtype)


def check_levels(values: np.ndarray, top: float):
    """Raise a ValueError unless all values are from 0 to `top`, which NaN is not."""
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(f"pixels must be from 0 to {top}. Received: values from {values.min()} to {values.max()}")


def mirror(images: np.ndarray) -> np.ndarray:
    """Flip images (images, height, width, channels), uint8 or float, left to right."""
    if not len(images):
        return images
    rows = np.ascontiguousarray(images).reshape(-1, *images.shape[2:])
    return cv2.flip(rows, 1).reshape(images.shape)  # ten times as fast as a copy of NumPy's reversed view


def to_channels(image: Image.Image | np.ndarray, channels: int) -> np.ndarray:
    """Convert an image to uint8 (height, width, channels).

    Args:
        image: of any mode. Float pixels must be from 0 to 1, integers of more than 8 bits from 0 to 65535.
        channels: 1 (luma), 3 (RGB) or 4 (RGBA). With 1 or 3, transparent pixels are shown over white.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
    if image.mode[0] in "IF":  # Pillow would clip these to 8 bits instead of scaling them
        values, top = np.asarray(image), 1 if image.mode == "F" else 65535
        check_levels(values, top)
        image = Image.fromarray((values * (255 / top)).round().astype("uint8"))
    if channels < 4 and image.has_transparency_data:  # the colours of transparent pixels are arbitrary
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if image.mode != MODES[channels]:  # `convert` copies even if the mode is the same
        image = image.convert(MODES[channels])
    return np.asarray(image).reshape(image.height, image.width, channels)


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give pixels (height, width, channels) the nearest visible colour where alpha (height, width, 1) is 0."""
    hidden = alpha[..., 0] == 0
    if not hidden.any() or hidden.all():
        return pixels
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def cmyk_to_rgb(image: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Convert CMYK (height, width, 4), uint8 or uint16, to RGB.

    With a valid profile, the result is sRGB in 8 bits. Without one, each colour is 1 minus its ink, in the same dtype.
    """
    if profile and profile[16:20] == b"CMYK":
        eight = Image.fromarray(image if image.dtype == np.uint8 else from_float(to_float(image), np.uint8), "CMYK")
        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(eight, source, target, outputMode="RGB"))
        except (OSError, ImageCms.PyCMSError):  # the profile is broken
            pass
    top = np.iinfo(image.dtype).max
    black = top - image[..., 3:].astype("float64")
    return (black - np.rint(image[..., :3] * black / top)).astype(image.dtype)


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a float32 image (height, width, channels) to `size` (height, width) with Pillow, without clipping."""
    planes = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)
