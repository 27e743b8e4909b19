import numpy as np
import pytest
from contracts import random_images
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from keras_recon.evaluation import baselines, evaluate
from keras_recon.models import LinearReconstructor


def batches(images, size):
    return [(images[i : i + size], images[i : i + size]) for i in range(0, len(images), size)]


def test_scores_are_means_over_images():
    images = random_images(5, 16, 16, 3)
    scores = evaluate(lambda x: 0.5 * x, batches(images, 2))
    expected = np.mean([peak_signal_noise_ratio(i, 0.5 * i, data_range=1) for i in images])
    assert scores["psnr"] == pytest.approx(expected, abs=1e-3)
    options = {"data_range": 1, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}
    expected = np.mean([structural_similarity(i, 0.5 * i, **options) for i in images])
    assert scores["ssim"] == pytest.approx(expected, abs=1e-4)
    assert list(scores) == ["psnr", "ssim"]


def test_baselines_are_pca_and_the_mean_patch():
    images = random_images(30, 16, 16, 3)
    model = LinearReconstructor((16, 16, 3), 4, 5)
    scores = baselines(model, batches(images, 10), batches(images, 10))
    model.adapt(images)
    assert scores["pca"]["psnr"] == pytest.approx(evaluate(model, batches(images, 7))["psnr"], abs=1e-4)
    patch = images.reshape(30, 4, 4, 4, 4, 3).mean(axis=(0, 1, 3))
    mean = np.tile(patch, (4, 4, 1))
    expected = np.mean([peak_signal_noise_ratio(i, mean, data_range=1) for i in images])
    assert scores["mean"]["psnr"] == pytest.approx(expected, abs=1e-3)
