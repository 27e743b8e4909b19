from functools import partial

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_recon")
class LinearAutoencoder(keras.layers.Layer):
    """The best linear autoencoder of patches: `encode` keeps `latent_dim` values of a patch, `decode` gives it back.

    `fit` sets it to a principal component analysis, which no linear map beats in mean squared error (Eckart and Young,
    1936). The latents are whitened: each has unit variance over the patches it was fitted on. As in
    `keras.layers.Normalization`, the weights are fitted, not trained: the optimizer's noise in them would cost smooth
    images decibels. It computes in float32 under any dtype policy: half precision would round the pixels themselves.

    Args:
        latent_dim: latent values per patch.
    """

    def __init__(self, latent_dim: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_dim = latent_dim

    def build(self, input_shape):
        values = input_shape[-1]
        if self.latent_dim > values:
            raise ValueError(
                f"`latent_dim` must be at most the {values} values of a patch. Received: latent_dim={self.latent_dim}"
            )
        orthogonal = keras.initializers.Orthogonal()
        weight = partial(self.add_weight, trainable=False, autocast=False)
        self.mean = weight(shape=(values,), initializer=keras.initializers.Constant(0.5), name="mean")
        self.encoder = weight(shape=(values, self.latent_dim), initializer=orthogonal, name="encoder")
        self.decoder = weight(shape=(self.latent_dim, values), initializer=orthogonal, name="decoder")

    def encode(self, patches):
        return ops.matmul(patches - self.mean, self.encoder)  # (..., latent_dim)

    def decode(self, latents):
        return ops.matmul(latents, self.decoder) + self.mean  # (..., values)

    def call(self, patches):
        return self.decode(self.encode(patches))

    def fit(self, patches: np.ndarray):
        """Set the weights to the principal components of `patches` (n, values), computed in float64."""
        mean, components, deviations = principal_components(patches, self.latent_dim)
        self.mean.assign(mean)
        self.encoder.assign(components.T / deviations)
        self.decoder.assign(components * deviations[:, None])

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


def principal_components(patches: np.ndarray, latent_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (values,), leading components (latent_dim, values) and standard deviations (latent_dim,) of (n, values).

    An exact SVD in float64. A component without variance (constant images) gets the deviation 1, so that whitening
    never divides by zero.
    """
    if len(patches) < latent_dim:
        raise ValueError(f"PCA needs at least `latent_dim`={latent_dim} patches. Received: {len(patches)} patches")
    patches = np.asarray(patches, "float64")
    mean = patches.mean(axis=0)
    _, singular_values, components = np.linalg.svd(patches - mean, full_matrices=False)
    deviations = singular_values[:latent_dim] / np.sqrt(len(patches))
    return mean, components[:latent_dim], np.where(deviations > 1e-6, deviations, 1.0)
