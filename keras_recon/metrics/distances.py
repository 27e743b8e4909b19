import keras
from keras import ops

from keras_recon.features.backbones import backbone_parts, load_backbone
from keras_recon.features.perceptual import perceptual_distance, preset_features, short_name

ACCURATE = "float32" if keras.backend.backend() == "jax" else "float64"  # JAX has no other by default


def frechet_distance(mean, covariance, other_mean, other_covariance):
    """Squared Fréchet distance of two Gaussians (Dowson and Landau, 1982), from 0.

    `|m - n|^2 + trace(C + D - 2 (C D)^(1/2))`. The trace of the root is the sum of the singular values of the product
    of the roots of C and D, which rounding disturbs less than the eigenvalues of C D.

    Args:
        mean, other_mean: (values,).
        covariance, other_covariance: (values, values), symmetric, without negative eigenvalues.

    Example:
    >>> from keras_recon.metrics import frechet_distance
    >>> round(float(frechet_distance(np.zeros(2), np.diag([1.0, 4.0]), np.array([3.0, 0.0]), np.diag([4.0, 4.0]))), 4)
    10.0
    """
    mean, covariance, other_mean, other_covariance = (
        ops.cast(value, ACCURATE) for value in (mean, covariance, other_mean, other_covariance)
    )
    product = _root(covariance) @ _root(other_covariance)
    traces = ops.trace(covariance) + ops.trace(other_covariance)
    distance = ops.sum(ops.square(mean - other_mean)) + traces - 2 * ops.sum(ops.svd(product, compute_uv=False))
    return ops.maximum(distance, 0.0)


def _root(matrix):
    values, vectors = ops.linalg.eigh(matrix)
    return (vectors * ops.sqrt(ops.maximum(values, 0.0))) @ ops.transpose(vectors)


@keras.saving.register_keras_serializable("keras_recon")
class FrechetDistance(keras.metrics.Metric):
    """Fréchet distance of the features of all predicted images from those of all true ones.

    The features of an image are the mean over its patches of those of one block of a frozen backbone, of unit length in
    each patch; their means and covariances are merged batch by batch ("Updating formulae and a pairwise algorithm for
    computing sample variances", Chan et al., 1979). It is the distance of "GANs trained by a two time-scale update
    rule" (Heusel et al., 2017) for another network than theirs, so no FID: its name has the backbone's. Of fewer images
    than there are features it says little, and only distances of equal numbers of images compare.

    Args:
        preset: see `keras_recon.features.perceptual_distance`.
        depth: block whose output is taken; the last if None.
        num_features: of that block; read from the preset if None.

    Example:
    >>> metric = keras_recon.metrics.FrechetDistance("deit_tiny")
    >>> images = np.random.rand(40, 32, 32, 3)
    >>> metric.update_state(images, images)
    >>> metric.name, round(float(metric.result()), 3)
    ('frechet_deit_tiny_3', 0.0)
    """

    def __init__(
        self,
        preset: str,
        depth: int | None = None,
        num_features: int | None = None,
        name: str | None = None,
        dtype=None,
    ):
        self.preset = str(preset)
        if depth is None or num_features is None:
            backbone = load_backbone(self.preset, load_weights=False)
            depth = len(backbone_parts(backbone)[1]) if depth is None else depth
            num_features = backbone.output_shape[-1]
        self.depth, self.num_features = depth, num_features
        super().__init__(name=name or f"frechet_{short_name(self.preset, (depth,))}", dtype=dtype)
        self._direction = "down"
        self.true, self.predicted = (self._moments(kind) for kind in ("true", "predicted"))

    def _moments(self, kind):
        """Count, mean, and sum of the products of what deviates from it."""
        shapes = {"count": (), "mean": (self.num_features,), "scatter": (self.num_features,) * 2}
        return [self.add_variable(shape, "zeros", ACCURATE, name=f"{kind}_{name}") for name, shape in shapes.items()]

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add true and predicted images, (batch, height, width, channels) in [0, 1]."""
        for images, (count, mean, scatter) in ((y_true, self.true), (y_pred, self.predicted)):
            features = ops.mean(preset_features(images, self.preset, (self.depth,)), axis=(1, 2))
            features = ops.cast(features, ACCURATE)  # (batch, num_features)
            added = ops.cast(ops.shape(features)[0], ACCURATE)
            own_mean = ops.mean(features, axis=0)
            deviations, shift = features - own_mean, own_mean - mean
            total = count + added
            products = ops.matmul(ops.transpose(deviations), deviations)
            scatter.assign_add(products + ops.outer(shift, shift) * count * added / total)
            mean.assign_add(shift * added / total)
            count.assign(total)

    def result(self):
        moments = []
        for count, mean, scatter in (self.true, self.predicted):
            moments += [mean, scatter / ops.maximum(count - 1, 1)]
        return ops.cast(frechet_distance(*moments), self.dtype)

    def get_config(self):
        config = {"preset": self.preset, "depth": self.depth, "num_features": self.num_features}
        return {"name": self.name, "dtype": self.dtype, **config}


@keras.saving.register_keras_serializable("keras_recon")
class PerceptualDistance(keras.metrics.MeanMetricWrapper):
    """Mean over images of `keras_recon.features.perceptual_distance`.

    Its name has the preset's: distances of different backbones, or depths, do not compare.

    Args:
        preset, depths: see `keras_recon.features.perceptual_distance`.

    Example:
    >>> metric = keras_recon.metrics.PerceptualDistance("deit_tiny", depths=(1, 2))
    >>> metric.update_state(np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32, 3)))
    >>> metric.name, float(metric.result())
    ('perceptual_deit_tiny_1_2', 0.0)
    """

    def __init__(self, preset: str, depths: tuple[int, ...] | None = None, name: str | None = None, dtype=None):
        self.preset = str(preset)
        self.depths = depths and tuple(depths)
        super().__init__(
            perceptual_distance,
            name=name or f"perceptual_{short_name(self.preset, self.depths)}",
            dtype=dtype,
            preset=self.preset,
            depths=self.depths,
        )
        self._direction = "down"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "preset": self.preset, "depths": self.depths}
