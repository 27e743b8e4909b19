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
