import numpy as np


def to_float(image: np.ndarray) -> np.ndarray:
    """float32 with black at 0 and white at 1, from uint8, uint16 or float."""
    if np.issubdtype(image.dtype, np.floating):
        return image.astype("float32")
    return image.astype("float32") / np.iinfo(image.dtype).max


def from_float(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float pixels clipped to [0, 1], as uint8 or uint16, rounded, or as another float."""
    image = np.clip(image, 0.0, 1.0)
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)
