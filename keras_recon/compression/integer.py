"""The entropy model in integers, so that sender and receiver get the same scales whatever computes them.

As in "Integer Networks for Data Compression with Latent-Variable Models" (Balle et al., 2019); here a trained network
is rounded, finely enough that nothing needs to be trained for it. Integers are kept in float64, in which sums and
products of them are exact up to 2^53 in any order, and which matrix products are fast in.
"""

from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from keras_recon.compression.entropy import CONTEXT_SCALE, MAX_LOG_SCALE, MIN_LOG_SCALE, EntropyModel, checkerboard
from keras_recon.models.image_model import check_backend
from keras_recon.utils.files import replacing

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
        for kernel, bias in self.synthesis:
            output = np.empty((*x.shape[:2], len(bias)), "float32")
            for at, values in _conv(x.__getitem__, x.shape[:2], kernel, bias):
                output[at] = np.maximum(values, 0)
            rows, columns, values = output.shape
            x = output.reshape(rows, columns, 2, 2, values // 4).swapaxes(1, 2)
            x = x.reshape(2 * rows, 2 * columns, values // 4)
        return x

    def parameters(self, index: int, half: int, features: np.ndarray, latents: np.ndarray) -> Iterator[tuple]:
        """Of half of the positions of a slice, in bands of rows: where, means, and indices of scales.

        Where is a pair of arrays, the rows and the columns (positions,). Means are in whole numbers of 1 / `UNIT`; they
        and indices are (positions, channels of the slice).

        Args:
            index: of the slice.
            half: 0 for the positions that come first on the checkerboard, which the others, 1, know.
            features: what `features` gives.
            latents: (rows, columns, channels) in whole numbers of 1 / `UNIT`; what is not decoded yet does not count.
        """
        start = sum(self.slices[:index])
        end = start + half * self.context_dims[index]
        kernel, bias = self.hidden[index]
        kernel = kernel[:, :, : features.shape[-1] + end]  # the others meet zeros

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
    """Indices of the nearest of `NUM_SCALES` scales, of logarithms in whole numbers of 1 / `UNIT`."""
    step = UNIT // SCALES_PER_OCTAVE
    index = np.floor((log_scales - UNIT * MIN_LOG_SCALE + step // 2) / step)  # by a power of two: exact
    return np.clip(index, 0, NUM_SCALES - 1).astype("uint8")


def _weights(layer):
    """Kernel and bias of a convolution in whole numbers of what its sums are in."""
    kernel, bias = (np.asarray(weight, "float64") for weight in layer.get_weights())
    kernel, bias = np.rint(WEIGHT_UNIT * kernel), np.rint(WEIGHT_UNIT * UNIT * bias)
    if not (MAX_ACTIVATION * np.abs(kernel).sum(axis=(0, 1, 2)) + np.abs(bias)).max() < 2**52:  # NaN is not, either
        raise ValueError(f"The weights of {layer.path} are too large for exact sums, and so is a codec's that has them")
    return kernel, bias


def _rounded(sums):
    """Whole numbers of 1 / `UNIT`, in float32, in which those up to 2^24 are exact."""
    return np.floor((sums + WEIGHT_UNIT // 2) / WEIGHT_UNIT).astype("float32")


def _conv(read: Callable, shape: tuple[int, int], kernel, bias, half: int | None = None) -> Iterator[tuple]:
    """A "same" convolution in bands of rows: where, as arrays of rows and columns, and the rounded sums there.

    Args:
        read: of a slice of the rows, the array (rows, columns, values) to convolve.
        shape: rows and columns of the whole.
        half: of the positions of a checkerboard; all if None.
    """
    (rows, columns), size, margin = shape, len(kernel), len(kernel) // 2
    width = columns + 2 * margin + 1 - columns % 2  # odd: every other one of joined rows is half of a checkerboard
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
        for dy in range(size):
            for dx in range(size):
                offset = dy * width + dx
                sums += joined[offset + start : offset + stop : step] @ kernel[dy, dx]
        of_row, column = np.divmod(position, width)
        inside = column < columns
        yield (top + of_row[inside], column[inside]), _rounded(sums[inside])


class Halves(keras.Model):
    """A codec in two halves, for a SavedModel: what becomes of images, and what becomes images again."""

    def compress(self, images, quality):
        """A dictionary of whole numbers, int32, and of the latents that they mean, for images at qualities (batch,).

        `symbols` (batch, height / 8, width / 8, latent_dim) and `hyper_symbols` (batch, height / 32, width / 32,
        hyper_dim) are what an entropy coder would code; `latents`, of the shape of `symbols`, are for `decompress`.
        """
        knots = self.knots(quality)
        hyper, symbols, latents, _ = self.entropy_model.code(self.analyse(images, knots), knots)
        return {
            "symbols": ops.cast(symbols, "int32"),
            "hyper_symbols": ops.cast(hyper, "int32"),
            "latents": latents,
        }

    def decompress(self, latents, quality):
        """Images (batch, height, width, 3) in [0, 1] of latents, at qualities (batch,)."""
        return self.synthesise(latents, self.knots(quality))

    def export(
        self, filepath, format: str = "tf_saved_model", verbose=None, image_size: tuple = (None, None), **kwargs
    ):
        """Write a SavedModel with the signatures `compress` and `decompress`, which are the methods of these names.

        Entropy coding, which needs integer arithmetic and constriction, stays with
        `keras_recon.compression.compress`: the SavedModel reads and writes no files.

        Args:
            filepath: the folder to write.
            format: "tf_saved_model" alone.
            image_size: height and width of the images, multiples of 32; None for any, which JAX does not take.

        Raises:
            ValueError: of the format.
            RuntimeError: the backend cannot write it.
        """
        if format != "tf_saved_model":
            raise ValueError(f"`format` must be 'tf_saved_model' for a codec. Received: format={format!r}")
        check_backend(format)
        of_latents = [side and side // self.patch_size for side in image_size]
        quality = keras.InputSpec(shape=(None,), dtype="float32", name="quality")
        archive = keras.export.ExportArchive()
        archive.track(self)
        for name, function, shape in (
            ("images", self.compress, (None, *image_size, 3)),
            ("latents", self.decompress, (None, *of_latents, self.latent_dim)),
        ):
            spec = keras.InputSpec(shape=shape, dtype="float32", name=name)
            archive.add_endpoint(function.__name__, function, [spec, quality])
        with replacing(filepath) as temporary:
            archive.write_out(str(temporary), verbose=bool(verbose), **kwargs)
