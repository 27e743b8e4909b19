"""The entropy model in integer arithmetic, so that encoder and decoder compute equal scales on any backend.

The method is that of "Integer Networks for Data Compression with Latent-Variable Models" (Balle et al., 2019). Here the
weights of a trained network are rounded so finely that it needs no training in integers. Integers are stored as
float64: sums and products are exact up to 2^53 in any order, and matrix products are fast.
"""

from collections.abc import Callable, Iterator

import numpy as np
from keras import ops

from keras_recon.compression.entropy import CONTEXT_SCALE, MAX_LOG_SCALE, MIN_LOG_SCALE, EntropyModel, checkerboard

UNIT = 2**8  # the integer that stands for an activation of 1
WEIGHT_UNIT = 2**12  # the integer that stands for a weight of 1
MAX_ACTIVATION = 2**20
SCALES_PER_OCTAVE = 4
NUM_SCALES = int((MAX_LOG_SCALE - MIN_LOG_SCALE) * SCALES_PER_OCTAVE) + 1
MAX_QUALITY = 255  # files store the quality as an integer from 0 to this
CHUNK = 2**15  # positions per matrix product


class IntegerEntropyModel:
    """Predicts means and scales of latents as an `EntropyModel` does, as integers in units of 1 / `UNIT`.

    Args:
        layer: Trained layer. Its weights are rounded to multiples of 1 / `WEIGHT_UNIT`.
        num_knots: Number of knots of the codec.

    Attributes:
        hyper_scales: Scale index of each channel of the hyper-latents, uint8 (hyper_dim,).

    Raises:
        ValueError: The weights are too large for exact sums.
    """

    def __init__(self, layer: EntropyModel, num_knots: int):
        self.slices = layer.slices
        self.starts = layer.starts
        self.context_dims = layer.context_dims
        self.num_knots = num_knots
        self.synthesis, self.hidden, self.heads = (
            [_weights(part) for part in parts] for parts in (layer.synthesis, layer.hidden, layer.heads)
        )
        scales = ops.convert_to_numpy(layer.hyper_log_scale).astype("float64")
        self.hyper_scales = _index(np.rint(UNIT * scales))

    def features(self, hyper: np.ndarray, quality: int) -> np.ndarray:
        """Compute the features that all slices share.

        Args:
            hyper: Rounded hyper-latents (rows / 4, columns / 4, hyper_dim).
            quality: From 0 to `MAX_QUALITY`.

        Returns:
            Features (rows, columns, filters).
        """
        at = quality * (self.num_knots - 1) - MAX_QUALITY * np.arange(self.num_knots)
        knots = (UNIT * np.maximum(MAX_QUALITY - np.abs(at), 0) + MAX_QUALITY // 2) // MAX_QUALITY
        planes = np.broadcast_to(knots.astype("float32"), (*hyper.shape[:2], self.num_knots))
        x = np.concatenate([UNIT * hyper.astype("float32"), planes], axis=-1)
        for kernel, bias in self.synthesis:
            output = np.empty((*x.shape[:2], len(bias)), "float32")
            for at, values in _conv(x.__getitem__, x.shape[:2], kernel, bias):
                output[at] = np.maximum(values, 0)
            rows, columns, values = output.shape
            x = output.reshape(rows, columns, 2, 2, values // 4).swapaxes(1, 2)
            x = x.reshape(2 * rows, 2 * columns, values // 4)
        return x

    def parameters(self, index: int, half: int, features: np.ndarray, latents: np.ndarray) -> Iterator[tuple]:
        """Predict the distribution of the latents of one half of a slice, in bands of rows.

        Args:
            index: Index of the slice.
            half: 0 for the half of the checkerboard that is coded first, or 1 for the half that sees it.
            features: Output of `features`.
            latents: (rows, columns, channels) in units of 1 / `UNIT`. Values that are not decoded yet are ignored.

        Yields:
            The positions as a pair of arrays, rows and columns (positions,), then means in units of 1 / `UNIT`, float32
            (positions, channels of the slice), and scale indices, uint8 of the same shape.
        """
        start = self.starts[index]
        end = start + half * self.context_dims[index]
        kernel, bias = self.hidden[index]
        kernel = kernel[:, :, : features.shape[-1] + end]  # the other inputs are zeros

        def context(rows):
            known = np.floor(CONTEXT_SCALE * latents[rows, :, :end] + 0.5)
            known[~checkerboard(np, *known.shape[:2], rows.start), start:] = 0
            return np.concatenate([features[rows], known], axis=-1)

        for at, hidden in _conv(context, latents.shape[:2], kernel, bias, half):
            kernel_of_head, bias_of_head = self.heads[index]
            sums = np.clip(hidden, 0, MAX_ACTIVATION).astype("float64") @ kernel_of_head[0, 0] + bias_of_head
            means, scales = np.split(_rounded(sums), 2, axis=-1)
            yield at, means, _index(scales)


def _index(log_scales):
    """Find the index of the nearest of the `NUM_SCALES` scales, for log-scales in units of 1 / `UNIT`."""
    step = UNIT // SCALES_PER_OCTAVE
    index = np.floor((log_scales - UNIT * MIN_LOG_SCALE + step // 2) / step)  # division by a power of two is exact
    return np.clip(index, 0, NUM_SCALES - 1).astype("uint8")


def _weights(layer):
    """Round kernel and bias of a convolution to integers, in the units of its inputs and of its sums."""
    kernel, bias = (np.asarray(weight, "float64") for weight in layer.get_weights())
    kernel, bias = np.rint(WEIGHT_UNIT * kernel), np.rint(WEIGHT_UNIT * UNIT * bias)
    if not (MAX_ACTIVATION * np.abs(kernel).sum(axis=(0, 1, 2)) + np.abs(bias)).max() < 2**52:  # also catches NaN
        raise ValueError(
            f"The weights of {layer.path} are too large for exact sums: files need a codec with smaller weights"
        )
    return kernel, bias


def _rounded(sums):
    """Divide sums by `WEIGHT_UNIT` and round them, to float32, which is exact for integers up to 2^24."""
    return np.floor((sums + WEIGHT_UNIT // 2) / WEIGHT_UNIT).astype("float32")


def _conv(read: Callable, shape: tuple[int, int], kernel, bias, half: int | None = None) -> Iterator[tuple]:
    """Compute a "same" convolution in bands of rows.

    Args:
        read: Function from a slice of rows to the array (rows, columns, values) to convolve.
        shape: Rows and columns of the whole array.
        kernel: Integer kernel (size, size, values, channels).
        bias: Integer bias (channels,).
        half: Half of a checkerboard to compute, 0 or 1, or None for all positions.

    Yields:
        The positions as a pair of arrays, rows and columns, and the rounded sums (positions, channels).
    """
    (rows, columns), size, margin = shape, len(kernel), len(kernel) // 2
    width = columns + 2 * margin + 1 - columns % 2  # odd: every second position of joined rows is on a checkerboard
    height = max(1, CHUNK // columns)
    for top in range(0, rows, height):
        end = min(rows, top + height)
        first, last = max(0, top - margin), min(rows, end + margin)
        x = np.zeros((end - top + 2 * margin, width, kernel.shape[2]))
        inner = x[first - top + margin : last - top + margin, margin : margin + columns]
        np.clip(read(slice(first, last)), -MAX_ACTIVATION, MAX_ACTIVATION, out=inner)
        joined = x.reshape(-1, x.shape[2])
        start, step = (0, 1) if half is None else ((top + half) % 2, 2)
        stop = (end - top - 1) * width + columns
        position = np.arange(start, stop, step)
        sums = np.tile(bias, (len(position), 1))
        for dy, dx in np.ndindex(size, size):
            offset = dy * width + dx
            sums += joined[offset + start : offset + stop : step] @ kernel[dy, dx]
        of_row, column = np.divmod(position, width)
        inside = column < columns
        yield (top + of_row[inside], column[inside]), _rounded(sums[inside])
