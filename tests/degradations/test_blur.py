import numpy as np
import pytest
import scipy.ndimage
from contracts import random_images
from skimage.filters import gaussian

from keras_recon.degradations import GaussianBlur, MotionBlur

IMAGE = random_images(1, 40, 52, 3)[0]


@pytest.mark.parametrize("sigma", [0, 0.7, 1.6])
def test_gaussian_blur_is_that_of_scikit_image(sigma):
    expected = gaussian(IMAGE, sigma, mode="reflect", truncate=4, channel_axis=-1)
    np.testing.assert_allclose(GaussianBlur(sigma)(IMAGE, None), expected, atol=1e-6)


@pytest.mark.parametrize("angle, axis", [(0, 1), (90, 0), (180, 1)])
def test_motion_along_an_axis_is_a_moving_average(angle, axis):
    expected = scipy.ndimage.uniform_filter1d(IMAGE, 9, axis=axis)
    np.testing.assert_allclose(MotionBlur(9, angle)(IMAGE, None), expected, atol=1e-6)


@pytest.mark.parametrize("angle", [20, 45, 135])
@pytest.mark.parametrize("length", [8, 15])
def test_motion_spreads_a_point_along_a_line(length, angle):
    point = np.zeros((41, 41, 1), "float32")
    point[20, 20] = 1
    line = MotionBlur(length, angle)(point, None)[..., 0].astype("float64")
    rows, columns = np.mgrid[20:-21:-1, -20:21]  # upwards, to the right
    assert line.sum() == pytest.approx(1) and line.min() >= 0
    assert np.sum(line * rows) == pytest.approx(0, abs=1e-6) and np.sum(line * columns) == pytest.approx(0, abs=1e-6)
    along = columns * np.cos(np.radians(angle)) + rows * np.sin(np.radians(angle))
    across = rows * np.cos(np.radians(angle)) - columns * np.sin(np.radians(angle))
    # Points a pixel apart have the variance (n^2 - 1) / 12; sharing them between pixels adds up to a quarter each way.
    assert (length**2 - 1) / 12 < np.sum(line * along**2) < (length**2 - 1) / 12 + 0.3
    assert np.sum(line * across**2) < 0.3


def test_a_random_angle_is_drawn_for_each_image():
    generator = np.random.default_rng(0)
    first, second = (MotionBlur(9)(IMAGE, generator) for _ in range(2))
    assert not np.array_equal(first, second)
    angle = np.random.default_rng(0).uniform(0, 180)
    np.testing.assert_array_equal(first, MotionBlur(9, angle)(IMAGE, None))
