"""Scores of whole photographs, of any size, in bounded memory."""

import math

import numpy as np
import skimage.color

from keras_recon import metrics
from keras_recon.images.pixels import to_float

COLOR_SPACES = ("rgb", "y")
ROWS = 256


def photo_scores(
    reference: np.ndarray, output: np.ndarray, color_space: str = "rgb", border: int = 0
) -> dict[str, float]:
    """PSNR in dB and, from 11x11 pixels on, SSIM of a photo, as in `keras_recon.metrics`: equal photos get 100 dB.

    Args:
        reference, output: (height, width, 1 or 3), uint8, uint16, or float in [0, 1].
        color_space: `"rgb"`, all channels as they are, or `"y"`, the luma of ITU-R BT.601 from 16/255 to 235/255, as is
            usual in super-resolution. Gray is its own luma.
        border: pixels at each side that are left out.
    """
    if reference.shape != output.shape:
        raise ValueError(
            f"`output` must be of the reference's shape {reference.shape}. Received: output.shape={output.shape}"
        )
    if color_space not in COLOR_SPACES:
        raise ValueError(f"`color_space` must be one of {COLOR_SPACES}. Received: color_space={color_space!r}")
    height, width = (side - 2 * border for side in reference.shape[:2])
    if border < 0 or min(height, width) < 1:
        raise ValueError(f"`border` must leave pixels of {reference.shape[:2]}. Received: border={border}")
    windows = metrics.SSIM_MIN_SIZE - 1  # rows more that the windows of a strip need
    errors, similarities = [], []
    for top in range(border, border + height, ROWS):
        bottom = min(top + ROWS + windows, border + height)
        pair = [_values(image[top:bottom, border : border + width], color_space) for image in (reference, output)]
        errors.append(np.square(pair[0][:ROWS] - pair[1][:ROWS]).sum(dtype="float64"))
        positions = bottom - top - windows
        if positions > 0 and width > windows:
            similarities.append(positions * float(metrics.ssim(*(values[None] for values in pair))[0]))
    values = height * width * pair[0].shape[2]
    scores = {"psnr": -10 * math.log10(max(sum(errors) / values, 1e-10))}
    if similarities:
        scores["ssim"] = sum(similarities) / (height - windows)
    return scores


def error_levels(reference: np.ndarray, output: np.ndarray, gain: float = 5.0) -> np.ndarray:
    """The absolute error, mean over channels, times `gain`, as uint8 (height, width) of [0, 1]."""
    levels = np.empty(reference.shape[:2], "uint8")
    for top in range(0, len(levels), ROWS):
        pair = [to_float(image[top : top + ROWS]) for image in (reference, output)]
        error = gain * np.abs(pair[0] - pair[1]).mean(axis=2)
        levels[top : top + ROWS] = np.rint(255 * np.minimum(error, 1.0))
    return levels


def _values(image, color_space):
    image = to_float(image)
    if color_space == "rgb" or image.shape[2] == 1:
        return image
    return (skimage.color.rgb2ycbcr(image)[..., :1] / 255).astype("float32")
