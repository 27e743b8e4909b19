"""Windows of photos, by decoding little more than them: of JPEG files, whose pixels are those of a decoding in full."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_recon.images.jpeg import JPEGHeader
from keras_recon.images.reading import turned

# Pixels around the window that are decoded too: the decoder interpolates the colours of a pixel by its neighbours, and
# not at all where there are less than five columns.
MARGIN = 4


def decode_window(
    path: str | Path, header: JPEGHeader, corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """The pixels of a window of an upright photo, uint8 (height, width, 1 or 3); None where that fails.

    Args:
        path: of the file.
        header: what `keras_recon.images.jpeg.jpeg_header` says of it.
        corner: (top, left) of the window.
        size: (height, width) of the window, which is inside of the photo.

    Example:

    >>> pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), "uint8")
    >>> keras_recon.images.write_image("a.jpg", keras_recon.images.ImageFile(pixels))
    >>> header = keras_recon.images.jpeg.jpeg_header("a.jpg")
    >>> window = decode_window("a.jpg", header, corner=(10, 20), size=(16, 24))
    >>> bool((window == keras_recon.data.read_photo("a.jpg", 3)[10:26, 20:44]).all())
    True
    """
    (top, left), (height, width) = header.as_stored(corner, size)
    above, before = min(top, MARGIN), min(left, MARGIN)
    box = [top - above, left - before]
    box += [
        min(header.stored[0], top + height + MARGIN) - box[0],
        min(header.stored[1], left + width + MARGIN) - box[1],
    ]
    try:
        with open(os.fspath(path), "rb") as file:
            data = file.read()
        pixels = tf.raw_ops.DecodeAndCropJpeg(
            contents=data, crop_window=np.array(box, "int32"), channels=0, dct_method="INTEGER_ACCURATE"
        ).numpy()
    except (OSError, tf.errors.OpError):
        return None
    return turned(pixels[above : above + height, before : before + width], header.orientation)
