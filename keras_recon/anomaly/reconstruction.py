"""Errors of a reconstruction as a map of defects: a model trained on good images reconstructs defects badly."""

import numpy as np
import scipy.ndimage


def error_map(image: np.ndarray, reconstruction: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Squared error, mean over channels, of (height, width, channels) in [0, 1], smoothed: (height, width).

    Args:
        sigma: standard deviation in pixels of the Gaussian that smooths it, as a defect is more than a pixel.
    """
    return scipy.ndimage.gaussian_filter(np.square(image - reconstruction).mean(axis=-1), sigma)


def image_score(errors: np.ndarray) -> float:
    """How anomalous an image is: the maximum of its error map."""
    return float(errors.max())
