import keras
import numpy as np

from keras_recon.anomaly.linear_distance import LinearDistance


@keras.saving.register_keras_serializable("keras_recon")
class PCAResidual(LinearDistance):
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

    def projection_of(self, covariance):
        values, vectors = np.linalg.eigh(covariance)  # ascending
        return vectors * (np.cumsum(values.clip(0)) <= (1 - self.variance) * values.clip(0).sum())

    def get_config(self):
        return {**super().get_config(), "variance": self.variance}
