from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.classifier import DefectClassifier
from keras_recon.anomaly.gaussian import PatchGaussian
from keras_recon.anomaly.nearest import NearestPatch

SAMPLE = 64  # tiles that tell how much distances vary


@keras.saving.register_keras_serializable("keras_recon")
class Ensemble(keras.layers.Layer):
    """The sum of the distances of several methods, each as a multiple of its standard deviation over good patches.

    Methods err on different patches: `DefectClassifier` overlooks defects unlike those it has learnt, `NearestPatch`
    small spots, `PatchGaussian` what is pasted.

    Args:
        methods: layers with `adapt(features)`, or those of `adapt` of `DefectClassifier`; by default that one,
            `NearestPatch(8000)` and `PatchGaussian()`.
        weights: of the methods in the sum; by default the first one counts as much as all others.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns).

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> nearest, gaussian = keras_recon.anomaly.NearestPatch(100), keras_recon.anomaly.PatchGaussian()
    >>> method = keras_recon.anomaly.Ensemble([nearest, gaussian])
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(
        self,
        methods: Sequence[keras.layers.Layer] | None = None,
        weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.methods = [DefectClassifier(), NearestPatch(8000), PatchGaussian()] if methods is None else list(methods)
        if not self.methods:
            raise ValueError(f"`methods` must be at least one layer. Received: methods={methods}")
        others = len(self.methods) - 1
        self.shares = [float(max(1, others)), *[1.0] * others] if weights is None else [float(w) for w in weights]
        if len(self.shares) != len(self.methods):
            raise ValueError(f"`weights` must be one for each of {others + 1} methods. Received: weights={weights}")

    @property
    def learns_defects(self) -> bool:
        """Whether a method is told where defects are."""
        return any(getattr(method, "learns_defects", False) for method in self.methods)

    def build(self, input_shape):
        for method in self.methods:
            if not method.built:
                method.build(input_shape)
        self.scales = self.add_weight(shape=(len(self.methods),), initializer="ones", trainable=False, name="scales")

    def adapt(self, features: np.ndarray, *defects: np.ndarray):
        """Fit each method to features (tiles, rows, columns, features) of good photos.

        Args:
            features: of good photos.
            defects: features of photos with a defect, and where it is, see `DefectClassifier.adapt`.
        """
        if not self.built:
            self.build(features.shape)
        some = features[:: -(-len(features) // SAMPLE)].astype("float32")
        scales = []
        for method, share in zip(self.methods, self.shares):
            method.adapt(features, *(defects if getattr(method, "learns_defects", False) else ()))
            scales.append(share / max(np.std(ops.convert_to_numpy(method(some))), 1e-6))
        self.scales.assign(scales)

    def call(self, features):
        return sum(self.scales[i] * method(features) for i, method in enumerate(self.methods))

    def get_config(self):
        methods = [keras.saving.serialize_keras_object(method) for method in self.methods]
        return {**super().get_config(), "methods": methods, "weights": self.shares}

    @classmethod
    def from_config(cls, config):
        methods = [keras.saving.deserialize_keras_object(method) for method in config["methods"]]
        return cls(**{**config, "methods": methods})
