from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.distances import NearestPatch, PatchGaussian, sample_patches
from keras_recon.data.batches import Batches

DEFECTS, GOOD = 512, 2048  # patches in a batch
LEAST, NONE = 0.1, 0.01  # shares of a patch that make it a defect, and that are none


@keras.saving.register_keras_serializable("keras_recon")
class DefectClassifier(keras.layers.Layer):
    """How much a patch's features look like a defect, to a small network that has learnt to tell drawn ones from good.

    Defects are drawn into the good photos, see `keras_recon.anomaly.synthetic_defect`, and a perceptron on the frozen
    features learns where they are ("CutPaste", Li et al., 2021; "DRAEM", Zavrtanik et al., 2021, of images). Marks that
    good photos have too are so told from defects, which no distance from good patches does.

    Args:
        hidden_dim: of the two hidden layers.
        dropout_rate: behind each of them, in [0, 1).
        steps: of training, with 512 defective and 2,048 good patches each.
        learning_rate: of AdamW, down to zero by a cosine.

    Input: features (batch, rows, columns, features). Output: logits (batch, rows, columns), above the mean of good
    patches and as multiples of their standard deviation, so that those of two trainings compare.

    Example:

    >>> good, damaged = np.random.rand(2, 20, 4, 4, 8)
    >>> shares = (np.arange(320).reshape(20, 4, 4) % 7 == 0).astype("float32")
    >>> method = keras_recon.anomaly.DefectClassifier(steps=2)
    >>> method.adapt(good, damaged, shares)
    >>> method(good).shape
    (20, 4, 4)
    """

    learns_defects = True

    def __init__(
        self,
        hidden_dim: int = 128,
        dropout_rate: float = 0.2,
        steps: int = 2000,
        learning_rate: float = 1e-3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        self.hidden_dim, self.dropout_rate = hidden_dim, dropout_rate
        self.steps, self.learning_rate = steps, learning_rate

    def build(self, input_shape):
        def hidden():
            return keras.layers.Dense(self.hidden_dim, "gelu"), keras.layers.Dropout(self.dropout_rate)

        scale = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False)
        self.network = keras.Sequential(
            [keras.Input((input_shape[-1],)), scale, *hidden(), *hidden(), keras.layers.Dense(1)], name="network"
        )
        self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=(), initializer="ones", trainable=False, name="deviation")

    def adapt(self, features: np.ndarray, damaged: np.ndarray, shares: np.ndarray):
        """Train it on features (tiles, rows, columns, features) of good photos, and of such with defects.

        Args:
            features: of good photos.
            damaged: of photos with a defect.
            shares: of each patch of `damaged` that is defective, (tiles, rows, columns), 0 to 1.
        """
        if not self.built:
            self.build(features.shape)
        size = features.shape[-1]
        good, damaged = features.reshape(-1, size), damaged.reshape(-1, size)
        defects, intact = (np.flatnonzero(chosen) for chosen in (shares >= LEAST, shares < NONE))
        if not len(defects):
            raise ValueError(f"`shares` must mark a defect. Received: a maximum of {shares.max()}")

        def draw(epoch, step):
            rng = np.random.default_rng(step)
            # As many of untouched photos as of what is intact around defects.
            parts = [
                damaged[rng.choice(defects, DEFECTS)],
                damaged[rng.choice(intact, GOOD // 2)],
                good[rng.choice(len(good), GOOD // 2)],
            ]
            return np.concatenate(parts).astype("float32"), np.arange(DEFECTS + GOOD)[:, None] < DEFECTS

        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, self.steps)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        self.network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), loss)
        self.network.fit(Batches(draw, self.steps, threads=1), verbose=0)
        logits = self.network.predict(sample_patches(features, 100_000), batch_size=4096, verbose=0)
        self.mean.assign(logits.mean())
        self.deviation.assign(max(logits.std(), 1e-6))

    def call(self, features):
        shape = ops.shape(features)
        logits = self.network(ops.reshape(features, (-1, shape[-1])), training=False)
        return (ops.reshape(logits, shape[:-1]) - self.mean) / self.deviation

    def get_config(self):
        names = ("hidden_dim", "dropout_rate", "steps", "learning_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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
