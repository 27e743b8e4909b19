import numpy as np
from PIL import Image


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A float32 image (height, width, channels) resized to `size` (height, width) by Pillow, not clipped."""
    planes = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)
