import sys

import numpy as np
import pytest
from scipy.stats import logistic

from keras_recon.compression import coder
from keras_recon.compression.coder import HALF, RANGE, TOTAL, Decoder, Encoder, bits, frequencies
from keras_recon.compression.entropy import MIN_LOG_SCALE
from keras_recon.compression.integer import NUM_SCALES, SCALES_PER_OCTAVE

pytest.importorskip("constriction", reason="files of a codec need constriction")


def width(scales):
    return 2.0 ** (MIN_LOG_SCALE + np.asarray(scales) / SCALES_PER_OCTAVE)


def coded(*parts) -> bytes:
    encoder = Encoder()
    for symbols, scales in parts:
        encoder.encode(symbols, scales)
    return encoder.to_bytes()


def drawn(count, seed=0):
    """Symbols of the distributions that the scales tell."""
    rng = np.random.default_rng(seed)
    scales = rng.integers(0, NUM_SCALES, count)
    return np.rint(rng.logistic(size=count) * width(scales)), scales


@pytest.mark.parametrize("scale", [0, 1, 9, 20, 33, NUM_SCALES - 1])
def test_frequencies_are_scipys_logistic_distribution(scale):
    table = frequencies(scale)
    assert table.sum() == TOTAL and table.min() >= 1 and table.dtype == "int64"
    within = table[:-1]
    np.testing.assert_array_equal(within, within[::-1])
    size = len(within) // 2
    assert len(within) == 2 * size + 1 and size - 1 <= RANGE * width(scale) <= size
    edges = np.arange(-size - 0.5, size + 1)
    expected = TOTAL * np.diff(logistic.cdf(edges / width(scale)))
    off_centre = np.arange(-size, size + 1) != 0
    assert np.abs(within - expected)[off_centre].max() <= 1
    assert abs(within[size] - expected[size]) <= 2 * size + 2  # what the others were rounded by


def test_bits_are_those_of_the_frequencies():
    scales = np.array([0, 20, 20, 20, NUM_SCALES - 1])
    symbols = np.array([0, 3, -3, 10**6, -7])
    tables = [frequencies(int(scale)) for scale in scales]
    expected = [np.log2(TOTAL / table[len(table) // 2 - 1 + s]) for table, s in zip(tables, symbols) if abs(s) < 99]
    expected.insert(3, np.log2(TOTAL) + 2 * np.log2(HALF))  # one of all others, and two digits
    np.testing.assert_allclose(bits(symbols, scales), expected)


def test_what_is_decoded_is_what_was_encoded():
    symbols, scales = drawn(3000)
    symbols[::100] = np.random.default_rng(1).integers(-(2**31) + 1, 2**31, 30)  # far out of the tables
    parts = [(symbols.reshape(30, 20, 5), scales.reshape(30, 20, 5)), (np.zeros(0), np.zeros(0, int)), drawn(7, 2)]
    data = coded(*parts)
    decoder = Decoder(data)
    for symbols, scales in parts:
        decoded = decoder.decode(scales)
        assert decoded.shape == scales.shape and decoded.dtype == "int32"
        np.testing.assert_array_equal(decoded, symbols)
    assert len(coded((np.zeros(0), np.zeros(0, int)))) <= 4


@pytest.mark.parametrize("count", [1, 50, 20000])
def test_bytes_are_as_many_as_the_bits(count):
    symbols, scales = drawn(count)
    expected = bits(symbols, scales).sum() / 8
    assert abs(len(coded((symbols, scales))) - expected) <= 0.01 * expected + 16


def test_damaged_bytes_give_other_symbols_or_an_error_of_constriction():
    symbols, scales = drawn(500)
    data = bytearray(coded((symbols, scales)))
    data[40] ^= 16
    assert not np.array_equal(Decoder(bytes(data)).decode(scales), symbols)
    with pytest.raises(AssertionError):  # `decompress` knows it
        Decoder(b"\xff" * 40).decode(scales)


@pytest.mark.parametrize("symbol", [float("nan"), np.inf, 2.0**31, -(2.0**31)])
def test_what_is_no_whole_number_of_31_bits_is_refused(symbol):
    with pytest.raises(ValueError, match=r"must be numbers below 2\^31"):
        coded((np.array([1.0, symbol]), np.array([3, 4])))


def test_a_missing_constriction_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(
        ImportError, match=r'Codec files need constriction, in the extra `codec`: pip install -e "\.\[codec\]"'
    ):
        coder.Encoder()
    with pytest.raises(ImportError, match="constriction"):
        coder.Decoder(b"")
