"""The linear autoencoder of patches and the solutions that fit it."""

from functools import partial

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_recon")
class LinearAutoencoder(keras.layers.Layer):
    """Linear autoencoder of patches: `encode` computes `latent_dim` values of a patch, `decode` reconstructs it.

    `fit` sets the weights to a principal component analysis, which has the least mean squared error of all linear
    autoencoders (Eckart and Young, 1936). For pairs of degraded and clean patches it sets them to the reduced-rank
    regression from one to the other ("Reduced-rank regression for the multivariate linear model", Izenman, 1975), which
    equals PCA where both are the same. Latents are whitened: each has unit variance over the fitted patches.

    The weights are fitted and not trained, as those of `keras.layers.Normalization`, because the noise of optimizer
    steps is visible in smooth images. The layer computes in float32 under any dtype policy, because half precision
    would round the pixels.

    Args:
        latent_dim: latent values per patch.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> layer = keras_recon.layers.LinearAutoencoder(latent_dim=4)
    >>> layer.build((None, 48))
    >>> patches = np.random.rand(1000, 48).astype("float32")
    >>> layer.fit(patches)
    >>> latents = layer.encode(patches)
    >>> latents.shape, round(float(keras.ops.std(latents)), 2)
    ((1000, 4), 1.0)
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
        middle = keras.initializers.Constant(0.5)
        self.input_mean = weight(shape=(values,), initializer=middle, name="input_mean")
        self.output_mean = weight(shape=(values,), initializer=middle, name="output_mean")
        self.encoder = weight(shape=(values, self.latent_dim), initializer=orthogonal, name="encoder")
        self.decoder = weight(shape=(self.latent_dim, values), initializer=orthogonal, name="decoder")

    def encode(self, patches):
        """Compute latents (..., latent_dim) of patches (..., values)."""
        return self(patches, part="encode")

    def decode(self, latents):
        """Compute patches (..., values) of latents (..., latent_dim)."""
        return self(latents, part="decode")

    def call(self, inputs, part: str = "both"):
        if part != "decode":
            inputs = ops.matmul(inputs - self.input_mean, self.encoder)
        if part != "encode":
            inputs = ops.matmul(inputs, self.decoder) + self.output_mean
        return inputs

    def fit(self, patches: np.ndarray, clean: np.ndarray | None = None):
        """Fit the weights in float64.

        Args:
            patches: inputs (n, values).
            clean: targets (n, values), if they differ from the inputs.
        """
        if clean is None or np.array_equal(patches, clean):
            mean, components, deviations = principal_components(patches, self.latent_dim)
            encoder = components.T
        else:
            mean, encoder, components, deviations = reduced_rank_regression(patches, clean, self.latent_dim)
        self.input_mean.assign(patches.mean(axis=0, dtype="float64"))
        self.output_mean.assign(mean)
        self.encoder.assign(encoder / deviations)
        self.decoder.assign(components * deviations[:, None])

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim}


def principal_components(patches: np.ndarray, latent_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute a principal component analysis in float64.

    Args:
        patches: (n, values).
        latent_dim: number of components.

    Returns:
        The mean (values,), the leading components (latent_dim, values) and their standard deviations (latent_dim,). The
        deviation of a component without variance is 1.
    """
    _check_count(patches, latent_dim)
    mean = patches.mean(axis=0, dtype="float64")
    centered = patches - mean
    # By the covariances: an SVD of the patches takes ten times as long, and the components differ by 1e-13.
    return mean, *_leading(centered.T @ centered / len(patches), latent_dim)


def reduced_rank_regression(patches: np.ndarray, clean: np.ndarray, latent_dim: int) -> tuple[np.ndarray, ...]:
    """Compute the linear map of a given rank with the least squared error, in float64.

    Args:
        patches: inputs (n, values).
        clean: targets (n, values).
        latent_dim: the rank.

    Returns:
        The mean of the targets (values,), the encoder (values, latent_dim), orthonormal components (latent_dim, values)
        and the standard deviations (latent_dim,) of the encoded patches, see `principal_components`.
    """
    _check_count(patches, latent_dim)
    mean = clean.mean(axis=0, dtype="float64")
    patches, clean = patches - patches.mean(axis=0, dtype="float64"), clean - mean
    # The pseudo-inverse ignores directions without variance, such as the colours of gray patches.
    covariance = patches.T @ clean / len(patches)
    regression = np.linalg.pinv(patches.T @ patches / len(patches), rcond=1e-9, hermitian=True) @ covariance
    components, deviations = _leading(covariance.T @ regression, latent_dim)  # of the predictions
    return mean, regression @ components.T, components, deviations


def _check_count(patches, latent_dim):
    if len(patches) < latent_dim:
        raise ValueError(f"PCA needs at least `latent_dim`={latent_dim} patches. Received: {len(patches)} patches")


def _leading(covariance, latent_dim):
    """Compute the orthonormal components of the largest variances and their deviations, 1 for a variance of 0."""
    variances, vectors = np.linalg.eigh(covariance)  # ascending
    deviations = np.sqrt(np.maximum(variances[::-1][:latent_dim], 0.0))
    return vectors[:, ::-1][:, :latent_dim].T, np.where(deviations > 1e-6, deviations, 1.0)
