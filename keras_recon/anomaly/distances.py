import keras
import numpy as np
from keras import ops


def sample_patches(features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """At most `count` patches, float32 (patches, features), of features (tiles, rows, columns, features)."""
    patches = features.reshape(-1, features.shape[-1])
    if len(patches) > count:
        patches = patches[np.sort(np.random.default_rng(seed).choice(len(patches), count, replace=False))]
    return patches.astype("float32")


def greedy_coreset(patches: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` patches of (patches, features), each the farthest from those before it.

    Distances are taken in 64 random projections ("Towards Total Recall in Industrial Anomaly Detection", Roth et al.,
    2022).
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
