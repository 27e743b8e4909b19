import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.linear_distance import LinearDistance


@keras.saving.register_keras_serializable("keras_recon")
class PositionGaussian(keras.layers.Layer):
    """The Mahalanobis distance of a patch's features from those of good photos at the same position of the tile.

    PaDiM ("PaDiM: a Patch Distribution Modeling Framework", Defard et al., 2021): a Gaussian for each position, of
    features chosen at random. It suits photos in which the same part is always at the same place.

    Args:
        features: that are chosen, or all where there are fewer; more of them need more photos.
        seed: of the choice.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.PositionGaussian(features=6)
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(self, features: int = 100, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        if features < 1:
            raise ValueError(f"`features` must be at least 1. Received: features={features}")
        self.features, self.seed = features, seed
        self.trainable = False

    def build(self, input_shape):
        _, rows, columns, size = input_shape
        count = min(self.features, size)
        self.chosen = np.random.default_rng(self.seed).choice(size, count, replace=False)
        shape = (rows, columns, count)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.whitening = self.add_weight(shape=(*shape, count), initializer="zeros", trainable=False, name="whitening")

    def adapt(self, features: np.ndarray):
        """Fit the Gaussians to features (tiles, rows, columns, features) of good photos, at least two tiles."""
        if not self.built:
            self.build(features.shape)
        features = features[..., self.chosen].astype("float32")
        mean = features.mean(axis=0)
        centred = (features - mean).transpose(1, 2, 3, 0)  # (rows, columns, chosen, tiles)
        covariance = centred @ centred.swapaxes(-1, -2) / (len(features) - 1)
        self.mean.assign(mean)
        self.whitening.assign(_whitening(covariance))

    def call(self, features):
        centred = ops.take(features, self.chosen, axis=-1) - self.mean  # (batch, rows, columns, chosen)
        whitened = ops.einsum("brcf,rcfg->brcg", centred, self.whitening)
        return ops.sqrt(ops.sum(ops.square(whitened), axis=-1))

    def get_config(self):
        return {**super().get_config(), "features": self.features, "seed": self.seed}


@keras.saving.register_keras_serializable("keras_recon")
class PatchGaussian(LinearDistance):
    """The Mahalanobis distance of a patch's features from those of all good patches, wherever they are.

    It suits surfaces: what looks the same everywhere, in photos that show no more of one place than of another.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.PatchGaussian()
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def projection_of(self, covariance):
        return _whitening(covariance)


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """What makes features (..., features) of this covariance (..., features, features) independent, of variance 1."""
    size = covariance.shape[-1]
    # PaDiM adds 0.01 to features of another scale.
    variance = covariance.trace(axis1=-2, axis2=-1)[..., None, None] / size
    values, vectors = np.linalg.eigh(covariance + 0.01 * variance * np.eye(size, dtype=covariance.dtype))
    return vectors / np.sqrt(values.clip(1e-9))[..., None, :]
