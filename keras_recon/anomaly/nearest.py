import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.sampling import greedy_coreset, sample_patches

CANDIDATES = 5  # patches that the coreset is chosen of, for each that it has


@keras.saving.register_keras_serializable("keras_recon")
class NearestPatch(keras.layers.Layer):
    """How far a patch's features are from the nearest in a memory of good patches.

    PatchCore ("Towards Total Recall in Industrial Anomaly Detection", Roth et al., 2022), without its weighting of
    scores: the memory is a greedy coreset of the good patches.

    Args:
        patches: in the memory.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.NearestPatch(patches=100)
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(self, patches: int = 4000, **kwargs):
        super().__init__(**kwargs)
        if patches < 1:
            raise ValueError(f"`patches` must be at least 1. Received: patches={patches}")
        self.patches = patches
        self.trainable = False

    def build(self, input_shape):
        self.memory = self.add_weight(
            shape=(self.patches, input_shape[-1]), initializer="zeros", trainable=False, name="memory"
        )

    def adapt(self, features: np.ndarray):
        """Choose the memory from features (tiles, rows, columns, features) of good photos."""
        if not self.built:
            self.build(features.shape)
        patches = sample_patches(features, CANDIDATES * self.patches)
        patches = patches[greedy_coreset(patches, self.patches)]
        self.memory.assign(np.resize(patches, self.memory.shape))  # repeated where there are too few

    def call(self, features):
        features = ops.cast(features, self.memory.dtype)
        squares = ops.sum(ops.square(features), axis=-1)  # (batch, rows, columns)
        # (batch, rows, columns, patches): |a - b|^2 = |a|^2 - 2 a.b + |b|^2
        products = ops.matmul(features, ops.transpose(self.memory))
        nearest = ops.min(ops.sum(ops.square(self.memory), axis=-1) - 2 * products, axis=-1)
        return ops.sqrt(ops.maximum(squares + nearest, 0.0))

    def get_config(self):
        return {**super().get_config(), "patches": self.patches}
