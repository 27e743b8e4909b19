import numpy as np
import pytest
from contracts import random_images

from keras_recon import degradations
from keras_recon.degradations import Compose, degrade, from_string

TEXTS = {
    "noise:25": degradations.GaussianNoise(25),
    "noise:0-50": degradations.GaussianNoise((0, 50)),
    "poisson:30": degradations.PoissonGaussianNoise(30),
    "poisson:30:2.5": degradations.PoissonGaussianNoise(30, 2.5),
    "mask:0.75": degradations.PatchMask(0.75),
    "mask:0.75:16": degradations.PatchMask(0.75, 16),
    "block:0.25": degradations.BlockMask(0.25),
    "strokes:0.2": degradations.FreeFormMask(0.2),
    "blur:1.6": degradations.GaussianBlur(1.6),
    "motion:9": degradations.MotionBlur(9),
    "motion:9:45": degradations.MotionBlur(9, 45),
    "downsample:4": degradations.Downsample(4),
    "jpeg:10": degradations.JPEG(10),
    "gray": degradations.Grayscale(),
    "blur:1.6+noise:5": Compose((degradations.GaussianBlur(1.6), degradations.GaussianNoise(5))),
}
RANDOM = [text for text in TEXTS if text.startswith(("noise", "poisson", "mask", "block", "strokes"))] + ["motion:9"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_and_back(text):
    assert from_string(text) == TEXTS[text]
    assert str(TEXTS[text]) == text


def test_other_spellings():
    assert str(from_string(" blur:1.60 + noise:.5 ")) == "blur:1.6+noise:0.5"
    assert str(from_string("mask:0.5:8")) == "mask:0.5"
    assert str(degradations.GaussianNoise(0.00001)) == "noise:0.00001"  # no exponent, which is no number of a text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shape", [(17, 23, 3), (32, 24, 1), (5, 5, 4)])
def test_shape_type_and_seeds(text, shape):
    image = random_images(1, *shape)[0]
    before = image.copy()
    first, again, *others = (TEXTS[text](image, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3, 4))
    assert first.shape == shape and first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    if text in RANDOM and shape[0] > 5:
        assert not all(np.array_equal(first, other) for other in others)


def test_compose_goes_on_with_the_generator():
    image = random_images(1, 16, 16, 3)[0]
    rng = np.random.default_rng(0)
    expected = degradations.JPEG(30)(TEXTS["noise:25"](TEXTS["mask:0.75"](image, rng), rng), rng)
    degraded = from_string("mask:0.75+noise:25+jpeg:30")(image, np.random.default_rng(0))
    np.testing.assert_array_equal(degraded, expected)


def test_images_are_degraded_by_their_index():
    images = random_images(4, 16, 16, 3)
    noisy = degrade(images, TEXTS["noise:25"])
    np.testing.assert_array_equal(noisy[:2], degrade(images[:2], TEXTS["noise:25"]))
    noise = noisy - images
    assert not np.array_equal(noise[0], noise[1])
    assert degrade(images, None) is images


@pytest.mark.parametrize("text", [*TEXTS, "mask:0.5+noise:0-50+jpeg:30"])
def test_a_batch_is_one_image_after_the_other(text):
    images = random_images(3, 16, 16, 3)
    degraded = degrade(images, from_string(text), stream=(7, 2, 1), start=40)
    rngs = [np.random.Generator(np.random.PCG64DXSM((7, 2, 1)).jumped(40 + i)) for i in range(3)]
    np.testing.assert_array_equal(degraded, [from_string(text)(*pair) for pair in zip(images, rngs)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nois:25",
        "noise",
        "noise:",
        "noise:x",
        "noise:-5",
        "noise:1-2-3",
        "noise:1:2",
        "noise:1e3",
        "gray:1",
        "blur:1+",
    ],
)
def test_texts_that_say_nothing_are_refused(text):
    usage = r"noise:SIGMA, poisson:PEAK\[:SIGMA\], mask:RATIO\[:PATCH_SIZE\], .*, gray, joined by"
    with pytest.raises(ValueError, match=f"{usage} '\\+'. Received: degradation='{text.replace('+', '.')}'$"):
        from_string(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("noise:50-0", r"`sigma` must be a number from 0, or a range \(low, high\) of such. Received: sigma=\(50, 0\)"),
        ("poisson:0", "`peak` must be a number above 0. Received: peak=0"),
        ("mask:1.5", "`ratio` must be a number from 0 to 1. Received: ratio=1.5"),
        ("mask:0.5-0.7", r"`ratio` must be a number from 0 to 1. Received: ratio=\(0.5, 0.7\)"),
        ("block:0.5:1.5", "`patch_size` must be a whole number from 1. Received: patch_size=1.5"),
        ("strokes:0.95", "`ratio` must be a number from 0 to 0.9. Received: ratio=0.95"),
        ("motion:0", "`length` must be a whole number from 1. Received: length=0"),
        ("motion:9:200", "`angle` must be a number from 0 to 180, or None. Received: angle=200"),
        ("downsample:0.5", "`factor` must be a number from 1. Received: factor=0.5"),
        ("jpeg:0", "`quality` must be a whole number from 1 to 100. Received: quality=0"),
        ("blur:1+jpeg:101", "Received: quality=101"),
    ],
)
def test_numbers_out_of_range_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        from_string(text)


@pytest.mark.parametrize("sigma", [-1, float("nan"), float("inf"), "25", (1, 2, 3), None])
def test_sigmas_that_are_none(sigma):
    with pytest.raises(ValueError, match="`sigma` must be"):
        degradations.GaussianNoise(sigma)


def test_a_grid_must_be_boolean():
    with pytest.raises(ValueError, match=r"`grid` must be boolean \(rows, columns\)"):
        degradations.GridMask(np.ones((2, 2)))
