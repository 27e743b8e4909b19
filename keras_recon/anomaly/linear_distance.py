import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.sampling import sample_patches


class LinearDistance(keras.layers.Layer):
    """The length of what a linear map, made of the covariance of good patches, leaves of a patch less their mean."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trainable = False

    def build(self, input_shape):
        size = input_shape[-1]
        self.mean = self.add_weight(shape=(size,), initializer="zeros", trainable=False, name="mean")
        # Of a fixed shape, whatever its rank, so that files load.
        self.projection = self.add_weight(shape=(size, size), initializer="zeros", trainable=False, name="projection")

    def adapt(self, features: np.ndarray):
        """Fit it to features (tiles, rows, columns, features) of good photos, at least two patches."""
        if not self.built:
            self.build(features.shape)
        patches = sample_patches(features, 100_000)
        self.mean.assign(patches.mean(axis=0))
        self.projection.assign(self.projection_of(np.cov(patches, rowvar=False)))

    def projection_of(self, covariance: np.ndarray) -> np.ndarray:
        """The map (features, features) for good patches of this covariance."""
        raise NotImplementedError

    def call(self, features):
        projected = ops.matmul(features - self.mean, self.projection)  # (batch, rows, columns, features)
        return ops.sqrt(ops.sum(ops.square(projected), axis=-1))
