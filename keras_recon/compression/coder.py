"""Symbols to bytes and back, with the range coder of the package constriction and tables of integer frequencies."""

from decimal import Context, Decimal, localcontext
from functools import cache
from itertools import pairwise

import numpy as np

from keras_recon.compression.entropy import MIN_LOG_SCALE
from keras_recon.compression.integer import NUM_SCALES, SCALES_PER_OCTAVE

TOTAL = 2**20  # sum of the frequencies of a table
RANGE = 14.0  # half-width of a table in scales: integers beyond it have a probability below 1 / TOTAL
HALF = 2**16  # integers outside a table are coded as two digits of this base
# Decimal rounds its exponential correctly, so it is equal on all machines. Math libraries differ.
DECIMAL = Context(prec=30)


def constriction():
    """Import constriction, or raise an ImportError that names the extra."""
    try:
        import constriction
    except ImportError:
        raise ImportError('Codec files need constriction, in the extra `codec`: pip install -e ".[codec]"') from None
    return constriction


@cache
def frequencies(scale: int) -> np.ndarray:
    """Compute the frequencies of integers under the logistic distribution with a scale.

    Args:
        scale: Index of the scale.

    Returns:
        Frequencies of the integers from -n to n, then the frequency of all other integers. Each is at least 1, and they
        add up to `TOTAL`.
    """
    with localcontext(DECIMAL):
        width = Decimal(2) ** (Decimal(MIN_LOG_SCALE) + Decimal(scale) / SCALES_PER_OCTAVE)
        size = int(RANGE * float(width)) + 1
        tails = [1 / (1 + ((k - Decimal("0.5")) / width).exp()) for k in range(1, size + 2)]
        side = [max(1, int(TOTAL * (a - b))) for a, b in pairwise(tails)]  # of 1, 2, ...
    centre = TOTAL - 2 * sum(side) - 1
    return np.array([*reversed(side), centre, *side, 1], "int64")


@cache
def _bits() -> np.ndarray:
    """Compute the bits of 0, 1, ... for each scale; the rest of a row is for integers outside the table."""
    tables = [frequencies(scale) for scale in range(NUM_SCALES)]
    bits = np.full((NUM_SCALES, len(tables[-1])), np.log2(TOTAL * HALF**2))
    for row, table in zip(bits, tables):
        side = table[len(table) // 2 - 1 : -1]
        row[: len(side)] = np.log2(TOTAL / side)
    return bits


def bits(symbols: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Compute the bits of each symbol, given the index of its scale."""
    table = _bits()
    return table[scales, np.minimum(np.abs(symbols), table.shape[1] - 1).astype("int32")]


@cache
def _table(scale):
    shares = frequencies(scale) / TOTAL
    return constriction().stream.model.Categorical(shares, perfect=False), (len(shares) - 2) // 2


class Encoder:
    """Codes symbols, each with the index of its scale, to bytes."""

    def __init__(self):
        self.stream = constriction().stream
        self.encoder = self.stream.queue.RangeEncoder()

    def encode(self, symbols: np.ndarray, scales: np.ndarray):
        """Append integers of any shape, given the indices of their scales, of the same shape."""
        least, greatest = symbols.min(initial=0), symbols.max(initial=0)
        if not -(HALF**2) // 2 < least <= greatest < HALF**2 // 2:  # also catches NaN
            raise ValueError("The latents of the codec must be numbers below 2^31 to fit into a file")
        symbols, scales = symbols.ravel(), scales.ravel()
        for scale in np.unique(scales):
            model, size = _table(int(scale))
            values = symbols[scales == scale].astype("int32")
            within = np.abs(values) <= size
            self.encoder.encode(np.where(within, values + size, 2 * size + 1), model)
            digits = np.stack(np.divmod(values[~within].astype("int64") + HALF**2 // 2, HALF), axis=-1)
            self.encoder.encode(digits.ravel().astype("int32"), self.stream.model.Uniform(HALF))

    def to_bytes(self) -> bytes:
        """Return the bytes without trailing zeros, which the decoder reads beyond the end anyway."""
        return self.encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class Decoder:
    """Decodes the symbols of an `Encoder`, in the same order."""

    def __init__(self, data: bytes):
        self.stream = constriction().stream
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype("uint32")
        self.decoder = self.stream.queue.RangeDecoder(words)

    def decode(self, scales: np.ndarray) -> np.ndarray:
        """Decode int32 symbols, given the indices of their scales, of the same shape.

        Corrupt bytes give wrong symbols, or an AssertionError from constriction.
        """
        flat = scales.ravel()
        symbols = np.empty(flat.shape, "int32")
        for scale in np.unique(flat):
            model, size = _table(int(scale))
            of_scale = flat == scale
            values = self.decoder.decode(model, int(of_scale.sum())).astype("int64") - size
            beyond = values > size
            digits = self.decoder.decode(self.stream.model.Uniform(HALF), 2 * int(beyond.sum())).astype("int64")
            values[beyond] = digits[::2] * HALF + digits[1::2] - HALF**2 // 2
            symbols[of_scale] = values
        return symbols.reshape(scales.shape)
