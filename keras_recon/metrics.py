import keras
import numpy as np
from keras import ops

SSIM_MIN_SIZE = 11
_BELL = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
GAUSSIAN_WINDOW = (_BELL / _BELL.sum()).tolist()
MS_SSIM_MIN_SIZE = 176
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
    return ops.mean(luminance * contrast, axis=(1, 2, 3))


def multi_scale_ssim(y_true, y_pred):
    """Multi-scale SSIM of each image, (batch,), for images in [0, 1] of at least 176x176 pixels.

    From "Multi-scale structural similarity for image quality assessment" (Wang et al., 2003), with its five weights.
    """
    height, width = y_true.shape[1:3]
    if min(height, width) < MS_SSIM_MIN_SIZE:
        raise ValueError(f"Multi-scale SSIM needs images of at least 176x176 pixels. Received: {height}x{width}")
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    score = 1.0
    for weight in MS_SSIM_WEIGHTS[:-1]:
        _, contrast = _ssim_terms(y_true, y_pred)
        score *= ops.power(ops.relu(ops.mean(contrast, axis=(2, 3))), weight)
        y_true, y_pred = (ops.average_pool(x, 2, strides=2, data_format="channels_last") for x in (y_true, y_pred))
    luminance, contrast = _ssim_terms(y_true, y_pred)
    score *= ops.power(ops.relu(ops.mean(luminance * contrast, axis=(2, 3))), MS_SSIM_WEIGHTS[-1])
    return ops.mean(score, axis=1)  # over channels


def _ssim_terms(y_true, y_pred):
    """SSIM's luminance and contrast-structure maps, (batch, channels, height - 10, width - 10), in float32.

    The window is applied by shifting, along rows and then along columns: on a CPU many times faster than the
    convolution in `keras.ops.image.ssim`, which took longer than the training step that it watched, and in full
    float32 on GPUs too, where matrix products and convolutions may round to TF32.
    """
    x, y = (ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2)) for images in (y_true, y_pred))
    height, width = x.shape[2:]
    if min(height, width) < SSIM_MIN_SIZE:
        raise ValueError(f"SSIM needs images of at least 11x11 pixels. Received: {height}x{width}")

    def blur(planes):  # the window is symmetric: a weight beside its centre serves two shifts
        centre, *outer = GAUSSIAN_WINDOW[5:]
        rows = centre * planes[:, :, 5:-5]
        for i, w in enumerate(outer, start=1):
            rows += w * (planes[:, :, 5 - i : height - 5 - i] + planes[:, :, 5 + i : height - 5 + i])
        blurred = centre * rows[:, :, :, 5:-5]
        for i, w in enumerate(outer, start=1):
            blurred += w * (rows[:, :, :, 5 - i : width - 5 - i] + rows[:, :, :, 5 + i : width - 5 + i])
        return blurred

    mean_x, mean_y = blur(x), blur(y)
    squares = mean_x * mean_x + mean_y * mean_y
    variances = blur(x * x + y * y) - squares
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (squares + 0.01**2)
    return luminance, (2 * covariance + 0.03**2) / (variances + 0.03**2)


def applicable(image_shape: tuple[int, int, int]) -> dict:
    """The functions above, by name, that images (height, width, channels) are large enough for."""
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

    >>> images = keras.random.uniform((1, 176, 176, 1), seed=0)
    >>> metric = keras_recon.metrics.MultiScaleSSIM()
    >>> metric.update_state(images, images)
    >>> round(float(metric.result()), 4)
    1.0
    """

    def __init__(self, name="ms_ssim", dtype=None):
        super().__init__(multi_scale_ssim, name, dtype)
