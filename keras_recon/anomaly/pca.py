import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.sampling import sample_patches


@keras.saving.register_keras_serializable("keras_recon")
class PCAResidual(keras.layers.Layer):
    """How far a patch's features are from the subspace in which those of good photos vary.

    Args:
        variance: the share of the good patches' variance that the subspace has, between 0 and 1.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.PCAResidual()
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(self, variance: float = 0.95, **kwargs):
        super().__init__(**kwargs)
        if not 0 < variance < 1:
            raise ValueError(f"`variance` must be between 0 and 1. Received: variance={variance}")
        self.variance = variance
        self.trainable = False

    def build(self, input_shape):
        size = input_shape[-1]
        self.mean = self.add_weight(shape=(size,), initializer="zeros", trainable=False, name="mean")
        # Onto what is orthogonal to the subspace; of a fixed shape, whatever its dimension, so that files load.
        self.projection = self.add_weight(shape=(size, size), initializer="zeros", trainable=False, name="projection")

    def adapt(self, features: np.ndarray):
        """Fit mean and subspace to features (tiles, rows, columns, features) of good photos."""
        if not self.built:
            self.build(features.shape)
        patches = sample_patches(features, 100_000)
        mean = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))  # ascending
        rest = np.cumsum(values.clip(0)) <= (1 - self.variance) * values.clip(0).sum()
        self.mean.assign(mean)
        self.projection.assign(vectors * rest)

    def call(self, features):
        outside = ops.matmul(features - self.mean, self.projection)  # (batch, rows, columns, features)
        return ops.sqrt(ops.sum(ops.square(outside), axis=-1))

    def get_config(self):
        return {**super().get_config(), "variance": self.variance}
