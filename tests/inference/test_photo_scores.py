import numpy as np
import pytest
from contracts import random_images
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from keras_recon.images.pixels import from_float
from keras_recon.inference import error_levels, photo_scores

SSIM_OPTIONS = {"gaussian_weights": True, "use_sample_covariance": False}


def pair(height, width, channels, dtype="uint8"):
    reference = random_images(1, height, width, channels)[0]
    noise = np.random.default_rng(1).standard_normal(reference.shape) * np.linspace(0, 0.2, height)[:, None, None]
    return from_float(reference, dtype), from_float(reference + noise, dtype)


# One strip, just more than one, one whose last rows have no window of their own, and several.
@pytest.mark.parametrize("size", [(11, 20), (256, 11), (257, 13), (266, 12), (270, 30), (700, 40)])
@pytest.mark.parametrize("channels, dtype", [(3, "uint8"), (1, "uint16"), (3, "float32")])
def test_scores_are_scikit_images(size, channels, dtype):
    reference, output = pair(*size, channels, dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    a, b = (image.astype("float64") / top for image in (reference, output))
    scores = photo_scores(reference, output)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-3)
    assert scores["ssim"] == pytest.approx(
        structural_similarity(a, b, data_range=1, channel_axis=2, **SSIM_OPTIONS), abs=1e-4
    )


def test_luma_and_border_as_in_super_resolution():
    reference, output = pair(60, 50, 3)
    # MATLAB's rgb2ycbcr, for 8 bits
    a, b = (16 + image[4:-4, 4:-4] @ np.array([65.481, 128.553, 24.966]) / 255 for image in (reference, output))
    scores = photo_scores(reference, output, color_space="y", border=4)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-3)
    assert scores["ssim"] == pytest.approx(structural_similarity(a, b, data_range=255, **SSIM_OPTIONS), abs=1e-4)
    gray = [image[..., :1] for image in (reference, output)]
    assert photo_scores(*gray, color_space="y") == photo_scores(*gray)


def test_small_and_equal_photos():
    reference, output = pair(10, 40, 3)
    assert list(photo_scores(reference, output)) == ["psnr"]
    assert photo_scores(reference, reference) == {"psnr": 100.0}


def test_error_levels_are_five_times_the_error():
    reference = np.full((300, 4, 3), 100, "uint8")
    output = reference.copy()
    output[0, 0] += 30  # a mean of 10 over channels would be 50
    output[0, 1, 0] += 30
    output[299, 3] = 0
    expected = np.zeros((300, 4))
    expected[0, 0], expected[0, 1], expected[299, 3] = 150, 50, 255
    np.testing.assert_array_equal(error_levels(reference, output), expected)


@pytest.mark.parametrize(
    "shape, options, message",
    [
        ((20, 21, 3), {}, r"output.shape=\(20, 21, 3\)"),
        ((20, 20, 3), {"color_space": "lab"}, "color_space='lab'"),
        ((20, 20, 3), {"border": 10}, "border=10"),
        ((20, 20, 3), {"border": -1}, "border=-1"),
    ],
)
def test_wrong_arguments_get_one_sentence(shape, options, message):
    with pytest.raises(ValueError, match=message):
        photo_scores(np.zeros((20, 20, 3), "uint8"), np.zeros(shape, "uint8"), **options)
