import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from keras_recon.evaluation.scores import (
    BORDER_STEPS,
    baselines,
    evaluate,
    fit_pca,
    hidden_psnr,
    image_scores,
    paired_interval,
)
from keras_recon.models import LinearReconstructor, ViTReconstructor


def batches(images, size):
    return [(images[i : i + size], images[i : i + size]) for i in range(0, len(images), size)]


def test_scores_are_of_images_and_their_means():
    images = random_images(5, 16, 16, 3)
    scores = image_scores(lambda x: 0.5 * x, batches(images, 2))
    expected = [peak_signal_noise_ratio(i, 0.5 * i, data_range=1) for i in images]
    np.testing.assert_allclose(scores["psnr"], expected, atol=1e-3)
    options = {"data_range": 1, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}
    expected = [structural_similarity(i, 0.5 * i, **options) for i in images]
    np.testing.assert_allclose(scores["ssim"], expected, atol=1e-4)
    means = evaluate(lambda x: 0.5 * x, batches(images, 2))
    across, inside = (scores.pop(name).mean() for name in BORDER_STEPS)
    expected = {name: np.mean(values) for name, values in scores.items()} | {"border ratio": across / inside}
    assert means == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert list(means) == ["psnr", "ssim", "border ratio"]


def test_baselines_are_pca_and_the_mean_patch():
    images = random_images(30, 16, 16, 3)
    model = LinearReconstructor((16, 16, 3), 4, 5)
    scores = baselines(model, fit_pca(model, batches(images, 10)), batches(images, 10))
    model.adapt(images)
    assert scores["pca"]["psnr"] == pytest.approx(evaluate(model, batches(images, 7))["psnr"], abs=1e-4)
    patch = images.reshape(30, 4, 4, 4, 4, 3).mean(axis=(0, 1, 3))
    mean = np.tile(patch, (4, 4, 1))
    expected = np.mean([peak_signal_noise_ratio(i, mean, data_range=1) for i in images])
    assert scores["mean"]["psnr"] == pytest.approx(expected, abs=1e-3)


def test_interval_of_independent_images_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    reference = rng.normal(30, 5, 400)
    scores = reference + rng.normal(0.3, 1.0, 400)  # paired: the 5 dB between images do not matter
    low, high = paired_interval(scores, reference, np.arange(400))
    mean, half = np.mean(scores - reference), 1.96 * np.std(scores - reference, ddof=1) / 20
    assert (low, high) == (pytest.approx(mean - half, abs=0.01), pytest.approx(mean + half, abs=0.01))
    assert paired_interval(scores, reference, np.arange(400)) == (low, high)


def test_crops_of_one_photo_are_drawn_together():
    rng = np.random.default_rng(0)
    of_photo = rng.normal(0.3, 1.0, 50)
    photos = np.repeat(np.arange(50), 8)
    differences = of_photo[photos]  # eight times the same says nothing new
    low, high = paired_interval(differences, np.zeros(400), photos)
    half = 1.96 * np.std(of_photo, ddof=1) / np.sqrt(50)
    assert high - low == pytest.approx(2 * half, rel=0.05)
    assert low < differences.mean() < high


def test_interval_of_equal_differences_and_of_one_photo():
    assert paired_interval(np.full(5, 3.0), np.full(5, 2.0), np.arange(5)) == (1.0, 1.0)
    assert paired_interval(np.arange(5.0), np.zeros(5), np.zeros(5)) is None


def test_a_masked_models_baseline_is_the_mean_patch_where_it_sees_nothing():
    images = random_images(12, 16, 16, 3)
    model = ViTReconstructor(**TINY, mask_ratio=0.75)
    scores = baselines(model, fit_pca(model, batches(images, 4)), batches(images, 4))
    mean = images.reshape(12, 4, 4, 4, 4, 3).mean((0, 1, 3))
    hidden = np.kron(model.fixed_mask[0], np.ones((4, 4), bool))
    outputs = np.where(hidden[..., None], np.tile(mean, (4, 4, 1)), images)
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(images, outputs)]
    assert scores.keys() == {"mean"} and abs(scores["mean"]["psnr"] - np.mean(expected)) < 1e-3
    expected = [peak_signal_noise_ratio(a[hidden], b[hidden], data_range=1) for a, b in zip(images, outputs)]
    assert abs(hidden_psnr(scores["mean"]["psnr"], model.fixed_mask) - np.mean(expected)) < 1e-3
