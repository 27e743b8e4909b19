import io

import numpy as np
import pytest
from contracts import random_images
from PIL import Image
from scipy.stats import entropy

from keras_recon import metrics
from keras_recon.evaluation.rate import at_bytes, quantize, quantized_scores, transmit
from keras_recon.models import LinearReconstructor


def photo_like(count, size=32):
    return random_images(count, size, size, 3)


def test_entropy_of_known_distributions():
    # Two levels, one of four positions in the upper one: 2 - 0.75 log2(3) = 0.811278 bits; then a uniform one, 2 bits;
    # then a constant, which costs nothing.
    latents = np.zeros((2, 2, 2, 3))
    latents[..., 0] = [[[0, 0], [0, 5]], [[0, 0], [0, 5]]]
    latents[..., 1] = [[[0, 1], [2, 3]], [[3, 2], [1, 0]]]
    latents[..., 2] = 7
    quantized = quantize(latents)
    assert quantized.bytes == pytest.approx((2 - 0.75 * np.log2(3) + 2) * 4 / 8)
    np.testing.assert_allclose(quantized.latents, latents, atol=1e-6)


def test_quantization_is_half_a_step_off_at_most_and_as_cheap_as_scipy_says():
    latents = np.random.default_rng(0).normal(size=(50, 4, 4, 2)) * [1, 100]
    quantized = quantize(latents)
    step = np.ptp(latents, axis=(0, 1, 2)) / 255
    assert (np.abs(quantized.latents - latents).max(axis=(0, 1, 2)) <= step * 0.5001).all()
    assert all(len(np.unique(quantized.latents[..., i])) <= 256 for i in range(2))
    histograms = [
        np.histogram(latents[..., i], 256, (low - s / 2, low + 255.5 * s))[0]
        for i, (low, s) in enumerate(zip(latents.min(axis=(0, 1, 2)), step))
    ]
    expected = sum(entropy(histogram, base=2) for histogram in histograms) * 16 / 8
    assert quantized.bytes == pytest.approx(expected, rel=1e-3)


def test_8_bit_latents_cost_little_quality():
    images = photo_like(20)
    model = LinearReconstructor((32, 32, 3), 8, 12)
    model.adapt(images)
    scores, size = quantized_scores(model, [(images[:16], images[:16]), (images[16:], images[16:])])
    exact = np.asarray(metrics.psnr(images, model(images)))
    assert scores["psnr"].shape == (20,)
    assert np.abs(scores["psnr"] - exact).max() < 0.5 and not np.array_equal(scores["psnr"], exact)
    assert 16 * 12 / 8 < size < 16 * 12  # one to eight bits a value


@pytest.mark.parametrize("channels", [1, 3])
def test_codecs_are_those_of_pillow(channels):
    images = random_images(3, 32, 48, channels)
    pixels = np.rint(images * 255).astype("uint8")
    for codec, options in (("jpeg", {"streamtype": 2}), ("webp", {"method": 6})):
        decoded, sizes = transmit(images, codec, 40)
        assert decoded.shape == images.shape and decoded.dtype == np.float32
        for i, image in enumerate(pixels):
            stream, file = io.BytesIO(), io.BytesIO()
            picture = Image.fromarray(image[..., 0] if channels == 1 else image)
            picture.save(stream, codec, quality=40, **options)
            assert sizes[i] == len(stream.getvalue())
            picture.save(file, codec, quality=40, **({} if codec == "jpeg" else options))
            expected = np.asarray(Image.open(file).convert(picture.mode)).reshape(image.shape)
            np.testing.assert_array_equal(np.rint(decoded[i] * 255), expected)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_the_greatest_quality_within_a_budget(codec):
    images = photo_like(3)
    means = [transmit(images, codec, quality)[1].mean() for quality in range(1, 101)]
    budget = means[59] + 0.1
    coded, curve = at_bytes(codec, images, budget)
    assert coded.quality == max(quality for quality, size in enumerate(means, 1) if size <= budget)
    assert coded.bytes == pytest.approx(means[coded.quality - 1])
    expected = metrics.psnr(images, transmit(images, codec, coded.quality)[0])
    assert coded.psnr == pytest.approx(np.mean(expected), abs=1e-3)
    sizes = [c.bytes for c in curve]
    assert sizes == sorted(sizes) and coded.quality in [c.quality for c in curve]
    coded, curve = at_bytes(codec, images, means[0] - 1)
    assert coded is None and curve[0].quality == 1
