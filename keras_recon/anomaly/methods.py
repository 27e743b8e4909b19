"""Methods of an `AnomalyDetector`: layers that map features of patches to distances from those of good photos."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def sample_patches(features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw at most `count` patches, float32 (patches, features), from features (tiles, rows, columns, features)."""
    patches = features.reshape(-1, features.shape[-1])
    if len(patches) > count:
        patches = patches[np.sort(np.random.default_rng(seed).choice(len(patches), count, replace=False))]
    return patches.astype("float32")


def greedy_coreset(patches: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return indices of `count` patches of (patches, features), each the farthest from those chosen before it.

    Distances are computed in 64 random projections ("Towards Total Recall in Industrial Anomaly Detection", Roth et
    al., 2022).
    """
    rng = np.random.default_rng(seed)
    projected = patches @ rng.standard_normal((patches.shape[1], 64), "float32")
    squares = np.square(projected).sum(axis=1)
    chosen, nearest = [int(rng.integers(len(patches)))], np.full(len(patches), np.inf, "float32")
    while len(chosen) < min(count, len(patches)):
        last = chosen[-1]
        np.minimum(nearest, squares - 2 * (projected @ projected[last]) + squares[last], out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


class Mahalanobis(keras.layers.Layer):
    """Base of the methods that fit a Gaussian to samples (samples, ..., features) of good photos."""

    def build_gaussian(self, *shape: int):
        """Create the weights of a Gaussian for each position: `shape` ends with the number of features."""
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        shape = (*shape, shape[-1])
        self.whitening = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="whitening")

    def fit_gaussian(self, samples: np.ndarray):
        """Fit mean and whitening matrix, in float64."""
        mean = samples.mean(axis=0, dtype="float64")
        centred = np.moveaxis(samples - mean, 0, -1)  # (..., features, samples)
        covariance = centred @ centred.swapaxes(-1, -2) / (len(samples) - 1)
        size = covariance.shape[-1]
        # The regularisation is relative to the variance; PaDiM adds 0.01 to features of another scale.
        variance = covariance.trace(axis1=-2, axis2=-1)[..., None, None] / size
        values, vectors = np.linalg.eigh(covariance + 0.01 * variance * np.eye(size))
        self.mean.assign(mean)
        self.whitening.assign(vectors / np.sqrt(values.clip(1e-9))[..., None, :])

    def distance(self, features, equation: str):
        """Return the length of whitened features, (batch, rows, columns)."""
        whitened = ops.einsum(equation, features - self.mean, self.whitening)
        return ops.sqrt(ops.sum(ops.square(whitened), axis=-1))


@keras.saving.register_keras_serializable("keras_recon")
class PositionGaussian(Mahalanobis):
    """Mahalanobis distance of a patch's features from those of good photos at the same position of the tile.

    PaDiM ("PaDiM: a Patch Distribution Modeling Framework", Defard et al., 2021): one Gaussian per position, of a
    random subset of the features. Use it for photos that show the same part at the same place.

    Args:
        features: number of features in the subset, at least 1. More features need more photos.
        seed: seed of the subset.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns), at least 0.

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

    def build(self, input_shape):
        _, rows, columns, size = input_shape
        count = min(self.features, size)
        self.chosen = np.random.default_rng(self.seed).choice(size, count, replace=False)
        self.build_gaussian(rows, columns, count)

    def adapt(self, features: np.ndarray):
        """Fit the Gaussians to features (tiles, rows, columns, features) of good photos, at least two tiles."""
        if not self.built:
            self.build(features.shape)
        self.fit_gaussian(features[..., self.chosen].astype("float32"))

    def call(self, features):
        return self.distance(ops.take(features, self.chosen, axis=-1), "brcf,rcfg->brcg")

    def get_config(self):
        return {**super().get_config(), "features": self.features, "seed": self.seed}


@keras.saving.register_keras_serializable("keras_recon")
class PatchGaussian(Mahalanobis):
    """Mahalanobis distance of a patch's features from those of all good patches, regardless of position.

    Use it for surfaces and textures, which look the same everywhere.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns), at least 0.

    Example:
    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.PatchGaussian()
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def build(self, input_shape):
        self.build_gaussian(input_shape[-1])

    def adapt(self, features: np.ndarray):
        """Fit the Gaussian to features (tiles, rows, columns, features) of good photos, at least two patches."""
        if not self.built:
            self.build(features.shape)
        self.fit_gaussian(sample_patches(features, 100_000))

    def call(self, features):
        return self.distance(features, "brcf,fg->brcg")


CANDIDATES = 5  # the coreset is chosen from this many random patches for each patch that it keeps


@keras.saving.register_keras_serializable("keras_recon")
class NearestPatch(keras.layers.Layer):
    """Distance of a patch's features from the nearest in a memory of good patches.

    PatchCore ("Towards Total Recall in Industrial Anomaly Detection", Roth et al., 2022), without its reweighting of
    scores. The memory is a greedy coreset of the good patches.

    Args:
        patches: number of patches in the memory, at least 1.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns), at least 0.

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

    def build(self, input_shape):
        shape = (self.patches, input_shape[-1])
        self.memory = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="memory")

    def adapt(self, features: np.ndarray):
        """Choose the memory from features (tiles, rows, columns, features) of good photos."""
        if not self.built:
            self.build(features.shape)
        patches = sample_patches(features, CANDIDATES * self.patches)
        patches = patches[greedy_coreset(patches, self.patches)]
        self.memory.assign(np.resize(patches, self.memory.shape))  # repeats patches if there are too few

    def call(self, features):
        features = ops.cast(features, self.memory.dtype)
        squares = ops.sum(ops.square(features), axis=-1)  # (batch, rows, columns)
        # (batch, rows, columns, patches): |a - b|^2 = |a|^2 - 2 a.b + |b|^2
        products = ops.matmul(features, ops.transpose(self.memory))
        nearest = ops.min(ops.sum(ops.square(self.memory), axis=-1) - 2 * products, axis=-1)
        return ops.sqrt(ops.maximum(squares + nearest, 0.0))

    def get_config(self):
        return {**super().get_config(), "patches": self.patches}


DEFECTS, GOOD = 512, 2048  # patches of each kind in a training batch
DEFECTIVE, INTACT = 0.1, 0.01  # a patch is a defect from this covered share on, and intact below that one


@keras.saving.register_keras_serializable("keras_recon")
class DefectClassifier(keras.layers.Layer):
    """Score of a small classifier that is trained to separate synthetic defects from good patches.

    A perceptron on the frozen features learns where `keras_recon.anomaly.synthetic_defect` has drawn defects into good
    photos ("CutPaste", Li et al., 2021; "DRAEM", Zavrtanik et al., 2021, do this on images). In contrast to distances,
    it learns to ignore marks that good photos have too.

    Args:
        hidden_dim: width of the two hidden layers.
        dropout_rate: dropout behind each hidden layer, in [0, 1).
        steps: training steps, at least 1, of 512 defective and 2,048 good patches each.
        learning_rate: initial rate of AdamW; it decays to zero along a cosine.

    Input: features (batch, rows, columns, features). Output: logits (batch, rows, columns), standardised by their mean
    and standard deviation over good patches, so that scores of different trainings are comparable.

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
        self, hidden_dim: int = 128, dropout_rate: float = 0.2, steps: int = 2000, learning_rate: float = 1e-3, **kwargs
    ):
        super().__init__(**kwargs)
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        self.hidden_dim, self.dropout_rate = hidden_dim, dropout_rate
        self.steps, self.learning_rate = steps, learning_rate

    def build(self, input_shape):
        layers = [keras.Input((input_shape[-1],))]
        layers.append(keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False))
        for _ in range(2):
            layers += [keras.layers.Dense(self.hidden_dim, "gelu"), keras.layers.Dropout(self.dropout_rate)]
        self.network = keras.Sequential([*layers, keras.layers.Dense(1)], name="network")
        self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=(), initializer="ones", trainable=False, name="deviation")

    def adapt(self, features: np.ndarray, damaged: np.ndarray, shares: np.ndarray):
        """Train the classifier.

        Args:
            features: features of good photos, (tiles, rows, columns, features).
            damaged: features of photos with a defect, of the same shape.
            shares: covered share of each patch of `damaged`, (tiles, rows, columns), 0 to 1.

        Raises:
            ValueError: if `shares` marks no defect.
        """
        if not self.built:
            self.build(features.shape)
        size = features.shape[-1]
        good, damaged = features.reshape(-1, size), damaged.reshape(-1, size)
        defects, intact = (np.flatnonzero(chosen) for chosen in (shares >= DEFECTIVE, shares < INTACT))
        if not len(defects):
            raise ValueError(f"`shares` must mark a defect. Received: a maximum of {shares.max()}")
        labels = np.arange(DEFECTS + GOOD)[:, None] < DEFECTS

        def draw(step):  # half of the good patches are the surroundings of defects
            rng = np.random.default_rng(step)
            parts = ((damaged, defects, DEFECTS), (damaged, intact, GOOD // 2), (good, len(good), GOOD // 2))
            patches = [patches[rng.choice(indices, count)] for patches, indices, count in parts]
            return np.concatenate(patches).astype("float32"), labels

        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, self.steps)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        self.network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), loss)
        batches = (draw(step) for step in range(self.steps))
        self.network.fit(batches, steps_per_epoch=self.steps, verbose=0)
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


SAMPLE = 64  # tiles from which the standard deviation of a method's distances is estimated


@keras.saving.register_keras_serializable("keras_recon")
class Ensemble(keras.layers.Layer):
    """Weighted sum of several methods' distances, each divided by its standard deviation over good patches.

    Methods fail on different patches: `DefectClassifier` on defects unlike the synthetic ones, `NearestPatch` on small
    spots, `PatchGaussian` on pasted pieces.

    Args:
        methods: layers with `adapt(features)`, or with the arguments of `DefectClassifier.adapt`. By default
            `DefectClassifier()`, `NearestPatch(8000)` and `PatchGaussian()`.
        weights: one weight per method. By default, the first method counts as much as all others together.

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
        self, methods: Sequence[keras.layers.Layer] | None = None, weights: Sequence[float] | None = None, **kwargs
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
        """Whether one of the methods is trained with defects."""
        return any(getattr(method, "learns_defects", False) for method in self.methods)

    def build(self, input_shape):
        for method in self.methods:
            if not method.built:
                method.build(input_shape)
        self.scales = self.add_weight(shape=(len(self.methods),), initializer="ones", trainable=False, name="scales")

    def adapt(self, features: np.ndarray, *defects: np.ndarray):
        """Fit each method to good photos.

        Args:
            features: features of good photos, (tiles, rows, columns, features).
            *defects: `damaged` and `shares` of `DefectClassifier.adapt`, if `learns_defects`.
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
