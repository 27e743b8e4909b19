import numpy as np
from contracts import random_images
from keras import ops

from keras_recon.ops import denormalize_patches, normalize_patches


def blocks(images):
    """Patches of 4 pixels, (batch, rows, columns, 4, 4, channels)."""
    batch, height, width, channels = images.shape
    return images.reshape(batch, height // 4, 4, width // 4, 4, channels).swapaxes(2, 3)


def test_normalised_patches_have_mean_0_and_deviation_1():
    images = random_images(2, 8, 12, 3)
    normalized = blocks(ops.convert_to_numpy(normalize_patches(images, 4)))
    expected = blocks(images).astype("float64")
    expected = expected - expected.mean((3, 4, 5), keepdims=True)
    expected /= np.sqrt(np.square(expected).mean((3, 4, 5), keepdims=True) + 1e-6)
    np.testing.assert_allclose(normalized, expected, atol=1e-4)
    flat = np.full((1, 4, 4, 3), 0.3, "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(normalize_patches(flat, 4)), 0.0, atol=1e-3)


def test_images_come_back_with_statistics_of_visible_patches_alone():
    images = random_images(1, 4, 12, 1)
    mask = np.array([[[False, True, False]]])
    images[:, :, 4:8] = np.nan  # the hidden patch
    normalized = np.nan_to_num(ops.convert_to_numpy(normalize_patches(images, 4)))
    normalized[:, :, 4:8] = np.linspace(-1, 1, 16).reshape(4, 4, 1)
    restored = ops.convert_to_numpy(denormalize_patches(normalized, images, mask, 4))
    left, right = images[:, :, :4], images[:, :, 8:]
    np.testing.assert_allclose(restored[:, :, :4], left, atol=1e-4)
    np.testing.assert_allclose(restored[:, :, 8:], right, atol=1e-4)
    # Both neighbours are one patch away: their mean statistics.
    mean, std = (left.mean() + right.mean()) / 2, (left.std() + right.std()) / 2
    np.testing.assert_allclose(restored[:, :, 4:8], normalized[:, :, 4:8] * std + mean, atol=1e-4)


def test_nearer_patches_count_more():
    images = np.zeros((1, 4, 20, 1), "float32")
    images[:, :, 16:] = 1.0
    mask = np.array([[[False, True, True, True, False]]])
    restored = ops.convert_to_numpy(denormalize_patches(np.zeros_like(images), images, mask, 4))
    means = restored.mean((0, 1, 3)).reshape(5, 4).mean(1)
    np.testing.assert_allclose(means, [0, 1 / (1 + 81), 0.5, 81 / 82, 1], atol=1e-4)
