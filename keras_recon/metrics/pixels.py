import keras
import numpy as np
from keras import ops

SSIM_MIN_SIZE = 11
_BELL = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
GAUSSIAN_WINDOW = (_BELL / _BELL.sum()).tolist()
MS_SSIM_MIN_SIZE = 161  # halved four times, rounded up, the window still fits
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(y_true, y_pred):
    """Peak signal-to-noise ratio in dB of each image, (batch,), for images in [0, 1]. Equal images get 100 dB.

    Example:
    >>> values = keras_recon.metrics.psnr(keras.ops.zeros((2, 16, 16, 3)), keras.ops.full((2, 16, 16, 3), 0.1))
    >>> values.shape, round(float(values[0]), 2)
    ((2,), 20.0)
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    mse = ops.mean(ops.square(y_true - y_pred), axis=(1, 2, 3))
    return -10.0 * ops.log10(ops.maximum(mse, 1e-10))


def ssim(y_true, y_pred):
    """Structural similarity of each image, (batch,), for images in [0, 1] of at least 11x11 pixels.

    11x11 Gaussian window with standard deviation 1.5, from "Image quality assessment: from error visibility to
    structural similarity" (Wang et al., 2004). The mean over channels and over the positions where the window fits.

    Example:
    >>> images = keras.random.uniform((2, 16, 16, 3), seed=0)
    >>> values = keras_recon.metrics.ssim(images, images)
    >>> values.shape, round(float(values[0]), 4)
    ((2,), 1.0)
    """
    luminance, contrast = _ssim_terms(y_true, y_pred)
    return ops.minimum(ops.mean(luminance * contrast, axis=(1, 2, 3)), 1.0)  # rounding may pass 1


def multi_scale_ssim(y_true, y_pred):
    """Multi-scale SSIM of each image, (batch,), for images in [0, 1] of at least 161x161 pixels.

    From "Multi-scale structural similarity for image quality assessment" (Wang et al., 2003), with its five weights. An
    odd side gets a row of zeros in front before it is halved, as in the package pytorch_msssim.

    Example:
    >>> images = keras.random.uniform((1, 161, 176, 1), seed=0)
    >>> round(float(keras_recon.metrics.multi_scale_ssim(images, images)[0]), 4)
    1.0
    """
    height, width = y_true.shape[1:3]
    if min(height or MS_SSIM_MIN_SIZE, width or MS_SSIM_MIN_SIZE) < MS_SSIM_MIN_SIZE:
        raise ValueError(f"Multi-scale SSIM needs images of at least 161x161 pixels. Received: {height}x{width}")
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    score = 1.0
    for weight in MS_SSIM_WEIGHTS[:-1]:
        _, contrast = _ssim_terms(y_true, y_pred)
        score *= _positive_power(ops.mean(contrast, axis=(2, 3)), weight)
        y_true, y_pred = _halve(y_true), _halve(y_pred)
    luminance, contrast = _ssim_terms(y_true, y_pred)
    score *= _positive_power(ops.mean(luminance * contrast, axis=(2, 3)), MS_SSIM_WEIGHTS[-1])
    return ops.minimum(ops.mean(score, axis=1), 1.0)  # over channels


def _positive_power(values, exponent):
    """Powers of values, 0 of those below 0. The slope at 0 is 0, where that of `power` is infinite."""
    others = values <= 0  # NaN stays
    return ops.where(others, 0.0, ops.power(ops.where(others, 1.0, values), exponent))


def _halve(images):
    _, height, width, _ = ops.shape(images)
    images = ops.pad(images, [(0, 0), (height % 2, 0), (width % 2, 0), (0, 0)])
    return ops.average_pool(images, 2, strides=2, data_format="channels_last")


def _ssim_terms(y_true, y_pred):
    """SSIM's luminance and contrast-structure maps, (batch, channels, height - 10, width - 10), in float32.

    The window is applied by shifting, along rows and then along columns: on a CPU many times faster than the
    convolution in `keras.ops.image.ssim`, which took longer than the training step that it watched, and in full
    float32 on GPUs too, where matrix products and convolutions may round to TF32.
    """
    x, y = (ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2)) for images in (y_true, y_pred))
    height, width = x.shape[2:]
    if min(height or SSIM_MIN_SIZE, width or SSIM_MIN_SIZE) < SSIM_MIN_SIZE:
        raise ValueError(f"SSIM needs images of at least 11x11 pixels. Received: {height}x{width}")

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
    """Mean absolute difference of neighbouring pixels across the borders of patches, and inside them, (batch,) each.

    The first over the second is 1 in photos, and above where a reconstruction shows its patches.

    Args:
        images: (batch, height, width, channels), more than a patch high or wide.
        patch_size: side of the patches in pixels, above 1; must divide height and width.

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
    """The functions above, by name, that images (height, width, channels) are large enough for.

    Example:
    >>> [*keras_recon.metrics.applicable((64, 64, 3))]
    ['psnr', 'ssim']
    """
    size = min(image_shape[:2])
    sizes = {"psnr": (psnr, 1), "ssim": (ssim, SSIM_MIN_SIZE), "ms_ssim": (multi_scale_ssim, MS_SSIM_MIN_SIZE)}
    return {name: metric for name, (metric, min_size) in sizes.items() if size >= min_size}


class _MeanOverImages(keras.metrics.MeanMetricWrapper):
    """Base of metrics that are computed per image, in float32, and then averaged over images."""

    def __init__(self, fn, name, dtype):
        super().__init__(fn, name=name, dtype=dtype)
        self._direction = "up"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("keras_recon")
class PSNR(_MeanOverImages):
    """Mean over images of `psnr`, in dB. (`keras.ops.psnr` pools the squared error of the whole batch instead.)

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
    """Mean over images of `ssim`, at most 1.

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
    """Mean over images of `multi_scale_ssim`, in [0, 1].

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
class BorderRatio(keras.metrics.Metric):
    """How strongly predicted images show their patches, see `border_steps`: means over all images, then their ratio.

    Args:
        patch_size: side of the patches in pixels, above 1.

    Example:
    >>> images = keras.random.uniform((16, 64, 64, 3), seed=0)
    >>> metric = keras_recon.metrics.BorderRatio(patch_size=8)
    >>> metric.update_state(images, images)
    >>> round(float(metric.result()), 1)  # noise has no borders
    1.0
    """

    def __init__(self, patch_size: int = 8, name="border_ratio", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.patch_size = patch_size
        self.across = self.add_variable((), "zeros", name="across")
        self.inside = self.add_variable((), "zeros", name="inside")
        self._direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add images `y_pred`; the true ones do not matter."""
        across, inside = border_steps(y_pred, self.patch_size)
        self.across.assign_add(ops.sum(across))
        self.inside.assign_add(ops.sum(inside))

    def result(self):
        return self.across / ops.maximum(self.inside, 1e-12)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "patch_size": self.patch_size}
