"""The entropy model in integers, so that sender and receiver get the same scales whatever computes them.

As in "Integer Networks for Data Compression with Latent-Variable Models" (Balle et al., 2019); here a trained network
is rounded, finely enough that nothing needs to be trained for it. Integers are kept in float64, in which sums and
products of them are exact up to 2^53 in any order, and which matrix products are fast in.
"""

import numpy as np
from keras import ops

from keras_recon.compression.entropy import CONTEXT_SCALE, MAX_LOG_SCALE, MIN_LOG_SCALE, EntropyModel

UNIT = 2**8  # of activations: a one of them
WEIGHT_UNIT = 2**12  # of kernels
MAX_ACTIVATION = 2**20
SCALES_PER_OCTAVE = 4
NUM_SCALES = int((MAX_LOG_SCALE - MIN_LOG_SCALE) * SCALES_PER_OCTAVE) + 1
MAX_QUALITY = 255  # qualities are whole numbers in files
CHUNK = 2**15  # positions that are computed at a time


class IntegerEntropyModel:
    """What an `EntropyModel` tells of latents, in whole numbers of 1 / `UNIT`.

    Args:
        layer: trained; its weights are rounded to 1 / `WEIGHT_UNIT`.
        num_knots: of the codec.
    """

    def __init__(self, layer: EntropyModel, num_knots: int):
        self.slices = layer.slices
        self.context_dims = layer.context_dims
        self.num_knots = num_knots
        self.synthesis, self.hidden, self.heads = (
            [_weights(part) for part in parts] for parts in (layer.synthesis, layer.hidden, layer.heads)
        )
        scales = ops.convert_to_numpy(layer.hyper_log_scale).astype("float64")
        self.hyper_scales = _index(np.rint(UNIT * scales))

    def features(self, hyper: np.ndarray, quality: int) -> np.ndarray:
        """What all slices know, (rows, columns, filters), of whole hyper-latents (rows / 4, columns / 4, hyper_dim)."""
        at = quality * (self.num_knots - 1) - MAX_QUALITY * np.arange(self.num_knots)
        knots = (UNIT * np.maximum(MAX_QUALITY - np.abs(at), 0) + MAX_QUALITY // 2) // MAX_QUALITY
        planes = np.broadcast_to(knots.astype("float32"), (*hyper.shape[:2], self.num_knots))
        x = np.concatenate([UNIT * hyper.astype("float32"), planes], axis=-1)
        for weights in self.synthesis:
            x = _conv([x], *weights, rectified=True)
            rows, columns, values = x.shape
            x = x.reshape(rows, columns, 2, 2, values // 4).swapaxes(1, 2).reshape(2 * rows, 2 * columns, -1)
        return x

    def parameters(self, index: int, features, decoded: list, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means, in whole numbers of 1 / `UNIT`, and indices of scales of a slice, given what is decoded.

        Args:
            index: of the slice.
            features: what `features` gives.
            decoded: the slices before, in whole numbers of 1 / `UNIT`.
            known: of this slice, zero where nothing is known.
        """
        parts = (*decoded, known[..., : self.context_dims[index]])
        context = [np.floor(CONTEXT_SCALE * part + 0.5) for part in parts]
        x = _conv([features, *context], *self.hidden[index], rectified=True)
        means, scales = np.split(_conv([x], *self.heads[index]), 2, axis=-1)
        return means, _index(scales)


def _index(log_scales):
    """Indices of the nearest of `NUM_SCALES` scales, of logarithms in whole numbers of 1 / `UNIT`."""
    step = UNIT // SCALES_PER_OCTAVE
    index = np.floor((log_scales - UNIT * MIN_LOG_SCALE + step // 2) / step)  # by a power of two: exact
    return np.clip(index, 0, NUM_SCALES - 1).astype("int32")


def _weights(layer):
    """Kernel and bias of a convolution in whole numbers of what its sums are in."""
    kernel, bias = (np.asarray(weight, "float64") for weight in layer.get_weights())
    kernel, bias = np.rint(WEIGHT_UNIT * kernel), np.rint(WEIGHT_UNIT * UNIT * bias)
    if not (MAX_ACTIVATION * np.abs(kernel).sum(axis=(0, 1, 2)) + np.abs(bias)).max() < 2**52:  # NaN is not, either
        raise ValueError(f"The weights of {layer.path} are too large for exact sums, and so is a codec's that has them")
    return kernel, bias


def _conv(parts, kernel, bias, rectified=False):
    """A "same" convolution of arrays (rows, columns, values) side by side, rounded to whole numbers.

    It is computed in bands of rows; what it gives is float32, in which numbers up to 2^24 are whole.
    """
    rows, columns, _ = parts[0].shape
    size, margin = len(kernel), len(kernel) // 2
    output = np.empty((rows, columns, len(bias)), "float32")
    height = max(1, CHUNK // columns)
    for top in range(0, rows, height):
        end = min(rows, top + height)
        first, last = max(0, top - margin), min(rows, end + margin)
        x = np.concatenate([part[first:last] for part in parts], axis=-1, dtype="float64")
        beyond = (margin - (top - first), margin - (last - end))
        x = np.pad(np.clip(x, -MAX_ACTIVATION, MAX_ACTIVATION), [beyond, (margin, margin), (0, 0)])
        sums = np.broadcast_to(bias, (end - top, columns, len(bias))).copy()
        for dy in range(size):
            for dx in range(size):
                sums += x[dy : dy + end - top, dx : dx + columns] @ kernel[dy, dx]
        output[top:end] = np.floor((sums + WEIGHT_UNIT // 2) / WEIGHT_UNIT)
        if rectified:
            np.maximum(output[top:end], 0, out=output[top:end])
    return output
