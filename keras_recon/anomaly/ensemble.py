from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.gaussian import PatchGaussian
from keras_recon.anomaly.nearest import NearestPatch

SAMPLE = 64  # tiles that tell how much distances vary


@keras.saving.register_keras_serializable("keras_recon")
class Ensemble(keras.layers.Layer):
    """The sum of the distances of several methods, each as a multiple of its standard deviation over good patches.

    Methods err on different patches: `NearestPatch` overlooks small spots, `PatchGaussian` what is pasted.

    Args:
        methods: layers with `adapt(features)`; by default `NearestPatch(8000)` and `PatchGaussian()`.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> nearest, gaussian = keras_recon.anomaly.NearestPatch(100), keras_recon.anomaly.PatchGaussian()
    >>> method = keras_recon.anomaly.Ensemble([nearest, gaussian])
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(self, methods: Sequence[keras.layers.Layer] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.methods = [NearestPatch(8000), PatchGaussian()] if methods is None else list(methods)
        if not self.methods:
            raise ValueError(f"`methods` must be at least one layer. Received: methods={methods}")

    def build(self, input_shape):
        for method in self.methods:
            if not method.built:
                method.build(input_shape)
        self.scales = self.add_weight(
            shape=(len(self.methods),), initializer="ones", trainable=False, name="scales"
        )

    def adapt(self, features: np.ndarray):
        """Fit each method to features (tiles, rows, columns, features) of good photos."""
        if not self.built:
            self.build(features.shape)
        for method in self.methods:
            method.adapt(features)
        some = features[:: -(-len(features) // SAMPLE)].astype("float32")
        deviations = [np.std(ops.convert_to_numpy(method(some))) for method in self.methods]
        self.scales.assign([1 / max(deviation, 1e-6) for deviation in deviations])

    def call(self, features):
        return sum(self.scales[i] * method(features) for i, method in enumerate(self.methods))

    def get_config(self):
        return {**super().get_config(), "methods": [keras.saving.serialize_keras_object(m) for m in self.methods]}

    @classmethod
    def from_config(cls, config):
        methods = [keras.saving.deserialize_keras_object(method) for method in config["methods"]]
        return cls(**{**config, "methods": methods})
