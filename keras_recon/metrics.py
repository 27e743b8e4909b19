"""Image quality metrics as functions, one value per image, and as Keras metrics.

All are computed in float32: in half precision SSIM is NaN, and TF32 spoils its variances.
"""

import keras
import numpy as np
from keras import ops

from keras_recon.features.backbones import backbone_parts, load_backbone
from keras_recon.features.perceptual import parse, perceptual_distance, preset_features, short_name

SSIM_MIN_SIZE = 11
_BELL = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
GAUSSIAN_WINDOW = (_BELL / _BELL.sum()).tolist()
MS_SSIM_MIN_SIZE = 161  # the window still fits after four halvings, rounded up
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(y_true, y_pred):
    """Compute the peak signal-to-noise ratio of each image.

    Args:
        y_true: true images, (batch, height, width, channels) in [0, 1].
        y_pred: images of the same shape.

    Returns:
        PSNR in dB, (batch,), at most 100: equal images get 100 dB.

    Example:
    >>> values = keras_recon.metrics.psnr(keras.ops.zeros((2, 16, 16, 3)), keras.ops.full((2, 16, 16, 3), 0.1))
    >>> values.shape, round(float(values[0]), 2)
    ((2,), 20.0)
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    mse = ops.mean(ops.square(y_true - y_pred), axis=(1, 2, 3))
    return -10.0 * ops.log10(ops.maximum(mse, 1e-10))


def ssim(y_true, y_pred):
    """Compute the structural similarity of each image.

    The 11x11 Gaussian window has a standard deviation of 1.5, as in "Image quality assessment: from error visibility
    to structural similarity" (Wang et al., 2004). SSIM is averaged over channels and over the positions where the
    window fits.

    Args:
        y_true: true images, (batch, height, width, channels) in [0, 1], at least 11x11 pixels.
        y_pred: images of the same shape.

    Returns:
        SSIM, (batch,), at most 1.

    Raises:
        ValueError: if the images are smaller than 11x11 pixels.

    Example:
    >>> images = keras.random.uniform((2, 16, 16, 3), seed=0)
    >>> values = keras_recon.metrics.ssim(images, images)
    >>> values.shape, round(float(values[0]), 4)
    ((2,), 1.0)
    """
    luminance, contrast = _ssim_terms(y_true, y_pred)
    return ops.minimum(ops.mean(luminance * contrast, axis=(1, 2, 3)), 1.0)  # rounding may exceed 1


def multi_scale_ssim(y_true, y_pred):
    """Compute the multi-scale SSIM of each image.

    From "Multi-scale structural similarity for image quality assessment" (Wang et al., 2003), with its five weights.
    An odd side is padded with a row of zeros in front before it is halved, as in the package pytorch_msssim.

    Args:
        y_true: true images, (batch, height, width, channels) in [0, 1], at least 161x161 pixels.
        y_pred: images of the same shape.

    Returns:
        MS-SSIM, (batch,), in [0, 1].

    Raises:
        ValueError: if the images are smaller than 161x161 pixels.

    Example:
    >>> images = keras.random.uniform((1, 161, 176, 1), seed=0)
    >>> round(float(keras_recon.metrics.multi_scale_ssim(images, images)[0]), 4)
    1.0
    """
    _check_size("Multi-scale SSIM", y_true.shape[1:3], MS_SSIM_MIN_SIZE)
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    score = 1.0
    for weight in MS_SSIM_WEIGHTS[:-1]:
        _, contrast = _ssim_terms(y_true, y_pred)
        score *= _positive_power(ops.mean(contrast, axis=(2, 3)), weight)
        y_true, y_pred = _halve(y_true), _halve(y_pred)
    luminance, contrast = _ssim_terms(y_true, y_pred)
    score *= _positive_power(ops.mean(luminance * contrast, axis=(2, 3)), MS_SSIM_WEIGHTS[-1])
    return ops.minimum(ops.mean(score, axis=1), 1.0)  # over channels


def _check_size(name, sides, least):
    if any(side and side < least for side in sides):  # an unknown side is None
        raise ValueError(f"{name} needs images of at least {least}x{least} pixels. Received: {sides[0]}x{sides[1]}")


def _positive_power(values, exponent):
    """Return powers, and 0 for values below 0. The slope at 0 is 0; that of `power` is infinite."""
    others = values <= 0  # NaN is kept
    return ops.where(others, 0.0, ops.power(ops.where(others, 1.0, values), exponent))


def _halve(images):
    _, height, width, _ = ops.shape(images)
    images = ops.pad(images, [(0, 0), (height % 2, 0), (width % 2, 0), (0, 0)])
    return ops.average_pool(images, 2, strides=2, data_format="channels_last")


def _ssim_terms(y_true, y_pred):
    """Return SSIM's luminance and contrast-structure maps, (batch, channels, height - 10, width - 10).

    The window is applied by shifting along rows and then along columns. On a CPU this is many times faster than the
    convolution in `keras.ops.image.ssim`, and on GPUs it keeps full float32, where convolutions may round to TF32.
    """
    x, y = (ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2)) for images in (y_true, y_pred))
    _check_size("SSIM", x.shape[2:], SSIM_MIN_SIZE)

    def blur(planes):  # the window is symmetric: a weight beside its centre serves two shifts
        centre, *outer = GAUSSIAN_WINDOW[5:]
        rows = centre * planes[:, :, 5:-5]
        for i, w in enumerate(outer, start=1):
            rows += w * (planes[:, :, 5 - i : -5 - i] + planes[:, :, 5 + i : i - 5 or None])
        blurred = centre * rows[:, :, :, 5:-5]
        for i, w in enumerate(outer, start=1):
            blurred += w * (rows[:, :, :, 5 - i : -5 - i] + rows[:, :, :, 5 + i : i - 5 or None])
        return blurred

    mean_x, mean_y = blur(x), blur(y)
    squares = mean_x * mean_x + mean_y * mean_y
    variances = blur(x * x + y * y) - squares
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (squares + 0.01**2)
    return luminance, (2 * covariance + 0.03**2) / (variances + 0.03**2)


def border_steps(images, patch_size: int = 8):
    """Compute the mean absolute difference of neighbouring pixels across the borders of patches, and inside patches.

    The ratio of the two is about 1 in photos, and larger if a reconstruction shows its patches.

    Args:
        images: (batch, height, width, channels), more than one patch high or wide.
        patch_size: side of the patches in pixels, above 1. It must divide height and width.

    Returns:
        Two tensors (batch,): across borders and inside patches.

    Example:
    >>> patches = keras.random.uniform((2, 4, 6, 3), seed=0)
    >>> images = keras.ops.repeat(keras.ops.repeat(patches, 8, axis=1), 8, axis=2)
    >>> across, inside = keras_recon.metrics.border_steps(images, patch_size=8)
    >>> bool(across[0] > 0.2), float(inside[0])
    (True, 0.0)
    """
    images = ops.cast(images, "float32")
    sums, counts = [0.0, 0.0], [0.0, 0.0]  # across, inside
    for axis in (1, 2):
        lines = ops.moveaxis(images, axis, 1)
        steps = ops.abs(lines[:, 1:] - lines[:, :-1])  # (batch, pairs, length of a line, channels)
        _, pairs, length, channels = ops.shape(steps)
        is_border = ops.cast(ops.equal(ops.arange(pairs) % patch_size, patch_size - 1), "float32")
        for i, chosen in enumerate((is_border, 1 - is_border)):
            sums[i] += ops.einsum("bplc,p->b", steps, chosen)
            counts[i] += ops.sum(chosen) * ops.cast(length * channels, "float32")
    return tuple(total / ops.maximum(count, 1.0) for total, count in zip(sums, counts))


def applicable(image_shape: tuple[int, int, int]) -> dict:
    """Return those of `psnr`, `ssim` and `multi_scale_ssim` that images (height, width, channels) are large enough for.

    Example:
    >>> [*keras_recon.metrics.applicable((64, 64, 3))]
    ['psnr', 'ssim']
    """
    sizes = {"psnr": (psnr, 1), "ssim": (ssim, SSIM_MIN_SIZE), "ms_ssim": (multi_scale_ssim, MS_SSIM_MIN_SIZE)}
    return {name: metric for name, (metric, least) in sizes.items() if min(image_shape[:2]) >= least}


ACCURATE = "float32" if keras.backend.backend() == "jax" else "float64"  # JAX disables float64 by default


def frechet_distance(mean, covariance, other_mean, other_covariance):
    """Compute the squared Fréchet distance of two Gaussians (Dowson and Landau, 1982).

    `|m - n|^2 + trace(C + D - 2 (C D)^(1/2))`. The trace of the root is computed as the sum of the singular values of
    the product of the roots of C and D, which is more accurate than the eigenvalues of C D.

    Args:
        mean: (values,).
        covariance: (values, values), symmetric, without negative eigenvalues.
        other_mean: (values,), of the other Gaussian.
        other_covariance: (values, values), of the other Gaussian.

    Returns:
        A scalar, at least 0.

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


class _MeanOverImages(keras.metrics.MeanMetricWrapper):
    """Base of metrics that are computed per image, in float32, and then averaged over images."""

    _direction = "up"  # for callbacks in mode "auto"; Keras has no public attribute

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("keras_recon")
class PSNR(_MeanOverImages):
    """Mean of `psnr` over images, in dB; `keras.ops.psnr` pools the squared error of the whole batch instead.

    Example:
    >>> metric = keras_recon.metrics.PSNR()
    >>> metric.update_state(keras.ops.zeros((2, 16, 16, 3)), keras.ops.full((2, 16, 16, 3), 0.1))
    >>> round(float(metric.result()), 2)
    20.0
    """

    def __init__(self, name="psnr", dtype=None):
        super().__init__(psnr, name, dtype)


@keras.saving.register_keras_serializable("keras_recon")
class SSIM(_MeanOverImages):
    """Mean of `ssim` over images, at most 1.

    Example:
    >>> images = keras.random.uniform((2, 16, 16, 3), seed=0)
    >>> metric = keras_recon.metrics.SSIM()
    >>> metric.update_state(images, images)
    >>> round(float(metric.result()), 4)
    1.0
    """

    def __init__(self, name="ssim", dtype=None):
        super().__init__(ssim, name, dtype)


@keras.saving.register_keras_serializable("keras_recon")
class MultiScaleSSIM(_MeanOverImages):
    """Mean of `multi_scale_ssim` over images, in [0, 1].

    Example:
    >>> images = keras.random.uniform((1, 161, 176, 1), seed=0)
    >>> metric = keras_recon.metrics.MultiScaleSSIM()
    >>> metric.update_state(images, images)
    >>> round(float(metric.result()), 4)
    1.0
    """

    def __init__(self, name="ms_ssim", dtype=None):
        super().__init__(multi_scale_ssim, name, dtype)


@keras.saving.register_keras_serializable("keras_recon")
class PerceptualDistance(_MeanOverImages):
    """Mean of `keras_recon.features.perceptual_distance` over images, at least 0.

    The name of the metric contains that of the preset, because distances of different backbones or depths are not
    comparable.

    Args:
        preset: see `keras_recon.features.perceptual_distance`.
        depths: blocks of the backbone that are compared, see there.
        name: name of the metric.
        dtype: dtype of the result.

    Example:
    >>> metric = keras_recon.metrics.PerceptualDistance("deit_tiny", depths=(1, 2))
    >>> metric.update_state(np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32, 3)))
    >>> metric.name, float(metric.result())
    ('perceptual_deit_tiny_1_2', 0.0)
    """

    _direction = "down"

    def __init__(self, preset: str, depths: tuple[int, ...] | None = None, name: str | None = None, dtype=None):
        self.preset, self.depths = str(preset), depths and tuple(depths)
        name = name or f"perceptual_{short_name(self.preset, self.depths)}"
        super().__init__(perceptual_distance, name, dtype, preset=self.preset, depths=self.depths)

    def get_config(self):
        return {**super().get_config(), "preset": self.preset, "depths": self.depths}


@keras.saving.register_keras_serializable("keras_recon")
class BorderRatio(keras.metrics.Metric):
    """Ratio of the two `border_steps`, each averaged over all predicted images: about 1 if no patches are visible.

    Args:
        patch_size: side of the patches in pixels, above 1.
        name: name of the metric.
        dtype: dtype of the result.

    Example:
    >>> images = keras.random.uniform((16, 64, 64, 3), seed=0)
    >>> metric = keras_recon.metrics.BorderRatio(patch_size=8)
    >>> metric.update_state(images, images)
    >>> round(float(metric.result()), 1)  # noise has no borders
    1.0
    """

    _direction = "down"

    def __init__(self, patch_size: int = 8, name="border_ratio", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.patch_size = patch_size
        self.across = self.add_variable((), "zeros", name="across")
        self.inside = self.add_variable((), "zeros", name="inside")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add images `y_pred`, (batch, height, width, channels) in [0, 1]; `y_true` is not used."""
        across, inside = border_steps(y_pred, self.patch_size)
        self.across.assign_add(ops.sum(across))
        self.inside.assign_add(ops.sum(inside))

    def result(self):
        return self.across / ops.maximum(self.inside, 1e-12)

    def get_config(self):
        return {**super().get_config(), "patch_size": self.patch_size}


@keras.saving.register_keras_serializable("keras_recon")
class FrechetDistance(keras.metrics.Metric):
    """Fréchet distance between the features of all predicted images and those of all true images.

    The features of an image are those of one block of a frozen backbone, of unit length in each patch, averaged over
    patches. Means and covariances are merged batch by batch ("Updating formulae and a pairwise algorithm for computing
    sample variances", Chan et al., 1979).

    The distance is that of "GANs trained by a two time-scale update rule" (Heusel et al., 2017) with another network,
    so it is not FID, and the name of the metric contains that of the backbone. It is unreliable for fewer images than
    features, and only distances of equal numbers of images are comparable.

    Args:
        preset: see `keras_recon.features.perceptual_distance`.
        depth: block whose output is used; the last one by default.
        num_features: number of features of that block; read from the preset by default.
        name: name of the metric.
        dtype: dtype of the result.

    Example:
    >>> metric = keras_recon.metrics.FrechetDistance("deit_tiny")
    >>> images = np.random.rand(40, 32, 32, 3)
    >>> metric.update_state(images, images)
    >>> metric.name, round(float(metric.result()), 3)
    ('frechet_deit_tiny_3', 0.0)
    """

    _direction = "down"

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
        self.true, self.predicted = (self._moments(kind) for kind in ("true", "predicted"))

    def _moments(self, kind):
        """Create count, mean, and sum of the products of deviations from the mean."""
        shapes = {"count": (), "mean": (self.num_features,), "scatter": (self.num_features,) * 2}
        return [self.add_variable(shape, "zeros", ACCURATE, name=f"{kind}_{name}") for name, shape in shapes.items()]

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add true and predicted images, (batch, height, width, channels) in [0, 1]."""
        for images, (count, mean, scatter) in ((y_true, self.true), (y_pred, self.predicted)):
            features = ops.mean(preset_features(images, self.preset, (self.depth,)), axis=(1, 2))
            features = ops.cast(features, ACCURATE)  # (batch, num_features)
            added = ops.cast(ops.shape(features)[0], ACCURATE)
            batch_mean = ops.mean(features, axis=0)
            deviations, shift = features - batch_mean, batch_mean - mean
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
        return {**super().get_config(), **config}


CLASSES = {"psnr": PSNR, "ssim": SSIM, "ms_ssim": MultiScaleSSIM, "border_ratio": BorderRatio}


def named(identifier):
    """Create a metric of this package from its text; return other texts and objects unchanged.

    Args:
        identifier: `"psnr"`, `"ssim"`, `"ms_ssim"`, `"border_ratio"`, `"perceptual:PRESET"` or `"frechet:PRESET"`.
            `PRESET:1,3,5` selects blocks of the backbone, for `frechet` only one.

    Example:
    >>> keras_recon.metrics.named("ssim").name
    'ssim'
    >>> keras_recon.metrics.named("perceptual:deit_tiny:1,3,5").name
    'perceptual_deit_tiny_1_3_5'
    """
    if not isinstance(identifier, str):
        return identifier
    kind, _, preset = identifier.partition(":")
    if kind == "perceptual" and preset:
        return PerceptualDistance(*parse(preset))
    if kind == "frechet" and preset:
        preset, depths = parse(preset)
        if len(depths := depths or (None,)) > 1:
            raise ValueError(f"`frechet:PRESET` takes one block at most. Received: {identifier!r}")
        return FrechetDistance(preset, *depths)
    return CLASSES[identifier]() if identifier in CLASSES else identifier


def get(identifier):
    """Create a metric from its text, see `named`, or from its name in Keras; return other objects unchanged.

    Example:
    >>> keras_recon.metrics.get("psnr").name
    'psnr'
    """
    metric = named(identifier)
    return keras.metrics.get(metric) if isinstance(metric, str) else metric
