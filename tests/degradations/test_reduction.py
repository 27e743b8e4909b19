import io

import numpy as np
import pytest
from contracts import random_images
from PIL import Image
from skimage.color import rgb2yuv

from keras_recon.degradations import JPEG, Downsample, Grayscale

IMAGE = random_images(1, 40, 52, 3)[0]


def test_downsampling_is_that_of_torch():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(IMAGE).permute(2, 0, 1)[None]
    for factor, size in ((4, (10, 13)), (3, (13, 17))):
        small = torch.nn.functional.interpolate(images, size, mode="bicubic", antialias=True)
        large = torch.nn.functional.interpolate(small, (40, 52), mode="bicubic", antialias=True)
        expected = large[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(Downsample(factor)(IMAGE, None), expected, atol=1e-5)


def test_downsampling_is_pillows_but_for_rounding():
    picture = Image.fromarray(np.rint(IMAGE * 255).astype("uint8"))
    expected = picture.resize((13, 10), Image.Resampling.BICUBIC).resize((52, 40), Image.Resampling.BICUBIC)
    degraded = np.clip(Downsample(4)(IMAGE, None), 0, 1)
    np.testing.assert_allclose(degraded, np.asarray(expected) / 255, atol=2.5 / 255)


@pytest.mark.parametrize("shape", [(3, 5, 1), (40, 52, 4)])
def test_downsampling_any_shape(shape):
    degraded = Downsample(8)(np.full(shape, 0.3, "float32"), None)
    assert degraded.shape == shape
    np.testing.assert_allclose(degraded, 0.3, atol=1e-6)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_jpeg_is_pillows(channels, mode):
    image = IMAGE[..., :channels]
    file = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype("uint8").squeeze(), mode).save(file, "JPEG", quality=10)
    expected = np.asarray(Image.open(file)).reshape(image.shape) / np.float32(255)
    np.testing.assert_array_equal(JPEG(10)(image, None), expected)
    outside = np.where(image > 0.5, 3.0, -2.0).astype("float32")  # as noise leaves it
    np.testing.assert_array_equal(JPEG(10)(outside, None), JPEG(10)(np.clip(outside, 0, 1), None))


def test_gray_is_luma():
    gray = Grayscale()(IMAGE, None)
    np.testing.assert_allclose(gray, np.repeat(rgb2yuv(IMAGE)[..., :1], 3, axis=-1), atol=1e-6)
    np.testing.assert_array_equal(Grayscale()(IMAGE[..., :1], None), IMAGE[..., :1])


@pytest.mark.parametrize("degradation", [JPEG(50), Grayscale()], ids=str)
def test_alpha_stays(degradation):
    image = random_images(1, 16, 16, 4)[0]
    degraded = degradation(image, None)
    np.testing.assert_array_equal(degraded[..., 3], image[..., 3])
    np.testing.assert_array_equal(degraded[..., :3], degradation(image[..., :3], None))
