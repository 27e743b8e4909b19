import numpy as np
import pytest
from contracts import check_layer
from keras import ops

from keras_recon.layers import LinearAutoencoder


def patches(n=500, values=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, values)) @ rng.standard_normal((values, values)) + 3.0


def test_it_is_pca():
    x = patches()
    layer = LinearAutoencoder(4)
    layer.build((None, 12))
    layer.fit(x)
    # The reference: eigenvectors of the covariance matrix.
    _, vectors = np.linalg.eigh(np.cov(x.T))
    kept = vectors[:, -4:]
    expected = (x - x.mean(0)) @ kept @ kept.T + x.mean(0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x.astype("float32"))), expected, atol=1e-4)
    latents = ops.convert_to_numpy(layer.encode(x.astype("float32")))
    np.testing.assert_allclose(np.cov(latents.T, bias=True), np.eye(4), atol=1e-3)


@pytest.mark.parametrize("latent_dim", [4, 12])
def test_of_degraded_patches_it_is_the_best_linear_map_of_its_rank(latent_dim):
    clean = patches()
    noisy = 0.7 * clean + 1.0 + 2 * np.random.default_rng(1).standard_normal(clean.shape)
    layer = LinearAutoencoder(latent_dim)
    layer.build((None, 12))
    layer.fit(noisy, clean)
    # The reference: least squares with an intercept, its predictions cut to their first principal components.
    predicted = np.column_stack([noisy, np.ones(len(noisy))])
    predicted = predicted @ np.linalg.lstsq(predicted, clean)[0] - clean.mean(0)
    u, s, v = np.linalg.svd(predicted, full_matrices=False)
    expected = (u[:, :latent_dim] * s[:latent_dim]) @ v[:latent_dim] + clean.mean(0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(noisy.astype("float32"))), expected, atol=1e-3)
    latents = ops.convert_to_numpy(layer.encode(noisy.astype("float32")))
    np.testing.assert_allclose(np.cov(latents.T, bias=True), np.eye(latent_dim), atol=1e-3)


def test_what_a_degradation_removes_costs_nothing_else():
    clean = patches()
    gray = clean.reshape(-1, 4, 3).mean(-1).repeat(3, axis=1)  # a third of the values tells all
    layer = LinearAutoencoder(12)
    layer.build((None, 12))
    layer.fit(gray, clean)
    predicted = np.column_stack([gray[:, ::3], np.ones(len(gray))])
    expected = predicted @ np.linalg.lstsq(predicted, clean)[0]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(gray.astype("float32"))), expected, atol=1e-3)


def test_contract():
    check_layer(LinearAutoencoder, {"latent_dim": 4}, patches(6).astype("float32"), (6, 12))
    layer = LinearAutoencoder(4, dtype="mixed_bfloat16")
    assert layer.compute_dtype == "float32"
    assert not layer.trainable_weights


def test_constant_patches_give_themselves_back():
    layer = LinearAutoencoder(4)
    layer.build((None, 12))
    layer.fit(np.full((50, 12), 0.25))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(np.full((2, 12), 0.25, "float32"))), 0.25, atol=1e-6)


def test_errors_name_the_number():
    with pytest.raises(ValueError, match="latent_dim=13"):
        LinearAutoencoder(13).build((None, 12))
    layer = LinearAutoencoder(4)
    layer.build((None, 12))
    with pytest.raises(ValueError, match="Received: 3 patches"):
        layer.fit(patches(3))
