"""Crops are a pure function of seed, epoch and index, whoever asks for how many of them at once."""

import numpy as np
import pytest

from keras_recon.data import Photos, RandomCrops, RandomPairs
from keras_recon.data.crops import DRAWS
from keras_recon.degradations import get

SIDE = 16


def photos(cache_bytes=2**29, count=11, dtype="uint8"):
    """Of many sizes, one of them enlarged to cover the crops."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (SIDE - (i == 5) * 6 + i, 20 + 3 * i, 3), "uint8") for i in range(count)]
    if dtype != "uint8":
        images = [(image / 255).astype(dtype) for image in images]
    return Photos(range(count), images.__getitem__, cache_bytes)


def in_batches(of, size, first, total, text="noise:0-50"):
    pairs = RandomPairs(of, (SIDE, SIDE, 3), seed=9, degradation=get(text), quarter_turns=True)
    batches = [pairs.batch(3, start, size) for start in range(first, total, size)]
    return [np.concatenate(part) for part in zip(*batches)]


@pytest.mark.parametrize("text", ["noise:25", "noise:0-50", "mask:0.5", "blur:1+noise:5", "gray"])
def test_batches_of_any_size_from_any_start_have_the_same_pairs(text):
    whole = in_batches(photos(), 48, 0, 48, text)
    for size in (1, 8):
        for part, expected in zip(in_batches(photos(), size, 0, 48, text), whole):
            np.testing.assert_array_equal(part, expected)
    for part, expected in zip(in_batches(photos(), 8, 24, 48, text), whole):  # resumed
        np.testing.assert_array_equal(part, expected[24:])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("cache_bytes", [0, 5000, 50_000])
def test_what_is_kept_in_memory_changes_nothing(dtype, cache_bytes):
    of = photos(cache_bytes, dtype=dtype)
    whole = in_batches(photos(dtype=dtype), 44, 0, 44)
    for _ in range(2):  # at first none is kept
        for part, expected in zip(in_batches(of, 44, 0, 44), whole):
            np.testing.assert_array_equal(part, expected)


def test_corners_flips_and_turns_are_uniform():
    rows, columns = np.mgrid[:20, :30]
    image = np.stack([rows, columns, 0 * rows], axis=-1).astype("uint8")
    crops = RandomCrops(Photos(["a"], lambda key: image), (SIDE, SIDE), seed=0, quarter_turns=True)
    crops = np.rint(255 * crops.batch(0, 0, 6000)[0]).astype(int)
    corners = crops[..., :2].min(axis=(1, 2))
    counts = np.bincount(corners[:, 0] * 15 + corners[:, 1], minlength=75)  # 5 rows, 15 columns
    assert len(counts) == 75
    assert ((counts - 80) ** 2 / 80).sum() < 120  # chi-squared with 74 degrees of freedom: 1 in 1,000 is above
    steps = np.stack([crops[:, 0, 1] - crops[:, 0, 0], crops[:, 1, 0] - crops[:, 0, 0]], 1)[..., :2].reshape(6000, 4)
    counts = np.unique(steps, axis=0, return_counts=True)[1]
    assert len(counts) == 8 and ((counts - 750) ** 2 / 750).sum() < 25  # 7 degrees of freedom


def test_the_draws_of_this_version_stay():
    """Where they change on purpose, DRAWS does too: runs that others began do not go on."""
    image = np.arange(32 * 40, dtype="uint16").reshape(32, 40, 1)
    crops = RandomCrops(Photos(["a"], lambda key: image), (8, 8), seed=5)
    firsts = np.rint(65535 * crops.batch(2, 100, 6)[0][:, 0, 0, 0]).astype(int).tolist()
    assert DRAWS == 2 and firsts == [744, 614, 92, 783, 143, 450]
