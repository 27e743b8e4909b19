import logging

import numpy as np

from keras_recon.data.photos import Photos
from keras_recon.images.files import BadImage
from keras_recon.images.pixels import to_float
from keras_recon.utils.tables import shown

LOOKED_AT = 32  # pairs
SIDE = 256  # pixels of the middle of each
WORST = 5  # that are named
logger = logging.getLogger(__name__)


def tell_of_shifts(photos: Photos):
    """Warn of (degraded, clean) pairs whose photos are shifted against each other, by some pairs, evenly spread."""
    shifts = {}
    for i in np.linspace(0, len(photos), min(LOOKED_AT, len(photos)), endpoint=False).astype(int):
        try:
            shifts[photos.keys[i]] = shift_of(*photos.parts(photos[i]))
        except BadImage:  # told where it is met
            continue
    shifted = sorted((name for name in shifts if any(shifts[name])), key=lambda name: -np.hypot(*shifts[name]))
    if shifted:
        worst = ", ".join(f"{shown(name)} by {shifts[name]}" for name in shifted[:WORST])
        logger.warning(
            "%d of %d pairs that were looked at are shifted, in pixels down and right: %s",
            len(shifted),
            len(shifts),
            worst,
        )


def shift_of(degraded: np.ndarray, clean: np.ndarray) -> tuple[int, int]:
    """Pixels (down, right) that the degraded photo lies off the clean one, by the best correlation of their middles.

    Args:
        degraded: (height, width, channels).
        clean: the same, or a multiple as large.

    Example:

    >>> photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), "uint8")
    >>> shift_of(255 - np.roll(photo, (3, -2), axis=(0, 1)), photo)
    (3, -2)
    """
    from skimage.registration import phase_cross_correlation  # takes its time to import

    factor = clean.shape[0] // degraded.shape[0]
    height, width = (min(SIDE, side) for side in degraded.shape[:2])
    top, left = ((side - part) // 2 for side, part in zip(degraded.shape, (height, width)))
    planes = []
    for image, scale in ((degraded, 1), (clean, factor)):
        part = image[top * scale : (top + height) * scale, left * scale : (left + width) * scale, :3]
        plane = to_float(part).mean(axis=2).reshape(height, scale, width, scale).mean(axis=(1, 3))
        planes.append((plane - plane.mean()) * np.hanning(height)[:, None] * np.hanning(width))  # borders correlate too
    if not all(np.any(plane) for plane in planes):
        return 0, 0
    shift, _, _ = phase_cross_correlation(*planes, normalization=None)
    return tuple(int(side) for side in shift)
