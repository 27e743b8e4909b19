import io

import cv2
import numpy as np
from PIL import Image, ImageCms
from scipy.ndimage import distance_transform_edt

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_float(image: np.ndarray) -> np.ndarray:
    """float32 with black at 0 and white at 1, from uint8, uint16 or float."""
    if np.issubdtype(image.dtype, np.floating):
        return image.astype("float32")
    return np.divide(image, np.iinfo(image.dtype).max, dtype="float32")


def mirror(images: np.ndarray) -> np.ndarray:
    """Images (images, height, width, channels), uint8 or float, flipped left-right."""
    if not len(images):
        return images
    rows = np.ascontiguousarray(images).reshape(-1, *images.shape[2:])
    return cv2.flip(rows, 1).reshape(images.shape)  # ten times as fast as NumPy's view from behind


def from_float(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float pixels clipped to [0, 1], as uint8 or uint16, rounded, or as another float."""
    image = np.clip(image, 0.0, 1.0)
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    image *= np.iinfo(dtype).max
    return np.rint(image, out=image).astype(dtype)


def to_channels(image: Image.Image | np.ndarray, channels: int) -> np.ndarray:
    """An image with 1 (luma), 3 (RGB) or 4 (RGBA) channels, uint8 (height, width, channels).

    What is transparent is shown over white, unless there are 4 channels. Float pixels must be from 0 to 1, those of
    more than 8 bits from 0 to 65535; others raise a ValueError.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
    if image.mode[0] in "IF":  # Pillow clips 16-bit numbers and floats to 8 bits instead of scaling them
        values, top = np.asarray(image), 1 if image.mode == "F" else 65535
        if not (values.min() >= 0 and values.max() <= top):  # not a number is neither
            raise ValueError(f"pixels must be from 0 to {top}. Received: values from {values.min()} to {values.max()}")
        image = Image.fromarray((values * (255 / top)).round().astype("uint8"))
    if channels < 4 and image.has_transparency_data:  # the colours behind it are arbitrary
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if image.mode != MODES[channels]:  # otherwise it copies
        image = image.convert(MODES[channels])
    return np.asarray(image).reshape(image.height, image.width, channels)


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels (height, width, channels) with the nearest visible colour wherever alpha (height, width, 1) is 0."""
    hidden = alpha[..., 0] == 0
    if not hidden.any() or hidden.all():
        return pixels
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def cmyk_to_rgb(image: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Of a uint8 or uint16 image (height, width, 4), as sRGB of 8 bits by its profile, or by complements."""
    if profile and profile[16:20] == b"CMYK":
        eight = Image.fromarray(image if image.dtype == np.uint8 else from_float(to_float(image), np.uint8), "CMYK")
        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(eight, source, target, outputMode="RGB"))
        except (OSError, ImageCms.PyCMSError):  # the profile is broken
            pass
    top = np.iinfo(image.dtype).max
    black = top - image[..., 3].astype("float64")
    planes = [black - np.rint(image[..., i] * black / top) for i in range(3)]
    return np.stack(planes, axis=-1).astype(image.dtype)


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A float32 image (height, width, channels) resized to `size` (height, width) by Pillow, not clipped."""
    planes = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)
