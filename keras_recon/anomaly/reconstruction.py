"""Errors of a reconstruction as a map of defects: a model trained on good images reconstructs defects badly."""

import numpy as np
import scipy.ndimage


def error_map(image: np.ndarray, reconstruction: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Squared error, mean over channels, of (height, width, channels) in [0, 1], smoothed: (height, width).

    Args:
        sigma: standard deviation in pixels of the Gaussian that smooths it, as a defect is more than a pixel.

    Example:

    >>> image = np.zeros((32, 32, 3))
    >>> image[8:16, 8:16] = 1
    >>> errors = keras_recon.anomaly.error_map(image, np.zeros_like(image))
    >>> errors.shape, bool(errors[12, 12] > 0.9 > 0.1 > errors[24, 24])
    ((32, 32), True)
    """
    return scipy.ndimage.gaussian_filter(np.square(image - reconstruction).mean(axis=-1), sigma)


def image_score(errors: np.ndarray) -> float:
    """How anomalous an image is: the maximum of its error map.

    Example:

    >>> keras_recon.anomaly.image_score(np.array([[0.25, 0.0], [0.5, 0.25]]))
    0.5
    """
    return float(errors.max())
