import keras
import numpy as np
import pytest
from contracts import check_metric, random_images
from keras import ops
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from keras_recon import metrics

SSIM_OPTIONS = {"data_range": 1, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}


def pairs(*shape):
    """Images and noisy copies of very different quality, so that pooling a batch would give another number."""
    y_true = random_images(*shape)
    noise = np.random.default_rng(1).standard_normal(shape) * np.geomspace(0.001, 0.2, len(y_true))[:, None, None, None]
    return y_true, np.clip(y_true + noise, 0, 1).astype("float32")


@pytest.mark.parametrize("shape", [(4, 32, 24, 3), (2, 11, 40, 1), (3, 64, 64, 4)])
def test_psnr_and_ssim_are_scikit_images(shape):
    y_true, y_pred = pairs(*shape)
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(y_true, y_pred)]
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.psnr(y_true, y_pred)), expected, atol=1e-3)
    expected = [structural_similarity(a, b, **SSIM_OPTIONS) for a, b in zip(y_true, y_pred)]
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.ssim(y_true, y_pred)), expected, atol=1e-4)


def test_ssim_of_bright_smooth_images():
    """Where float32 cancels most: a variance far below the squared mean."""
    y_true = (0.95 + 0.02 * random_images(2, 64, 64, 3)).astype("float32")
    y_pred = (y_true + 0.005 * random_images(2, 64, 64, 3, seed=3)).astype("float32")
    expected = [structural_similarity(a, b, **SSIM_OPTIONS) for a, b in zip(y_true, y_pred)]
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.ssim(y_true, y_pred)), expected, atol=1e-4)


def test_multi_scale_ssim_is_tensorflows():
    tf = pytest.importorskip("tensorflow")
    y_true, y_pred = pairs(3, 176, 192, 3)
    expected = tf.image.ssim_multiscale(y_true, y_pred, max_val=1.0).numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.multi_scale_ssim(y_true, y_pred)), expected, atol=1e-4)


def test_multi_scale_ssim_of_odd_sides_is_pytorch_msssims():
    expected = [0.9999979, 0.9995696, 0.9319313]  # of pytorch_msssim, in float64
    y_true, y_pred = pairs(3, 201, 333, 3)
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.multi_scale_ssim(y_true, y_pred)), expected, atol=1e-5)


def test_get_takes_what_keras_takes():
    metric = metrics.PSNR()
    assert metrics.get(metric) is metric and metrics.get(None) is None
    assert isinstance(metrics.get("ms_ssim"), metrics.MultiScaleSSIM)
    assert type(metrics.get("mae")) is type(keras.metrics.get("mae"))


def test_sizes_may_be_unknown():
    """Under tf.data, whose batches do not say how high and wide they are."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends know all sizes")
    y_true, y_pred = pairs(2, 171, 184, 3)
    batch = tf.TensorSpec((None, None, None, 3))

    @tf.function(input_signature=[batch, batch])
    def scores(y_true, y_pred):
        steps = metrics.border_steps(y_pred, 8)
        return [f(y_true, y_pred) for f in (metrics.psnr, metrics.ssim, metrics.multi_scale_ssim)] + [*steps]

    known = [f(y_true, y_pred) for f in (metrics.psnr, metrics.ssim, metrics.multi_scale_ssim)]
    for unknown, value in zip(scores(y_true, y_pred), [*known, *metrics.border_steps(y_pred, 8)]):
        np.testing.assert_allclose(unknown, value, rtol=1e-5)


def test_contract():
    check_metric(metrics.PSNR(), *pairs(3, 16, 16, 3))
    check_metric(metrics.SSIM(), *pairs(3, 16, 16, 3))
    check_metric(metrics.MultiScaleSSIM(), *pairs(2, 176, 176, 3))
    check_metric(metrics.BorderRatio(8), *pairs(3, 16, 16, 3))


def test_equal_images_get_100_db():
    images = random_images(2, 16, 16, 3)
    np.testing.assert_allclose(ops.convert_to_numpy(metrics.psnr(images, images)), 100)


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="Received: 10x16"):
        metrics.ssim(*pairs(1, 10, 16, 3))
    with pytest.raises(ValueError, match="Received: 176x160"):
        metrics.multi_scale_ssim(*pairs(1, 176, 160, 3))


@pytest.mark.parametrize("size, names", [(8, ["psnr"]), (11, ["psnr", "ssim"]), (176, ["psnr", "ssim", "ms_ssim"])])
def test_applicable(size, names):
    assert list(metrics.applicable((size, 200, 3))) == names


@pytest.mark.parametrize("patch_size", [2, 4, 8])
def test_border_steps_are_numpys(patch_size):
    images = random_images(3, 16, 24, 3)
    across, inside = metrics.border_steps(ops.convert_to_tensor(images), patch_size)
    rows, columns = np.abs(np.diff(images, axis=1)), np.abs(np.diff(images, axis=2))
    at_rows, at_columns = slice(patch_size - 1, 15, patch_size), slice(patch_size - 1, 23, patch_size)
    for i in range(3):
        borders = [rows[i, at_rows].ravel(), columns[i][:, at_columns].ravel()]
        others = [np.delete(rows[i], at_rows, 0).ravel(), np.delete(columns[i], at_columns, 1).ravel()]
        np.testing.assert_allclose(float(across[i]), np.concatenate(borders).mean(), rtol=1e-5)
        np.testing.assert_allclose(float(inside[i]), np.concatenate(others).mean(), rtol=1e-5)


def test_border_ratio_is_of_the_sums():
    flat, blocks = np.zeros((1, 16, 16, 1), "float32"), random_images(2, 16, 16, 1).repeat(8, axis=1).repeat(8, axis=2)
    blocks = blocks[:, :16, :16]
    metric = metrics.BorderRatio()
    for images in (flat, blocks):
        metric.update_state(images, images)
    across, inside = (np.sum(ops.convert_to_numpy(steps)) for steps in metrics.border_steps(blocks, 8))
    assert float(metric.result()) == pytest.approx(across / max(inside, 1e-12), rel=1e-5)


def test_multi_scale_ssim_of_negatives_has_a_gradient():
    """Their contrast terms are below 0, where a power has none."""
    images = random_images(1, 161, 161, 1)
    assert float(metrics.multi_scale_ssim(images, 1 - images)[0]) == 0
    assert np.isnan(float(metrics.multi_scale_ssim(images, images * np.float32("nan"))[0]))
    model = keras.Sequential([keras.Input((161, 161, 1)), keras.layers.Rescaling(-1.0, 1.0), keras.layers.Conv2D(1, 1)])
    model.layers[1].set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    loss = lambda y_true, y_pred: 1 - metrics.multi_scale_ssim(y_true, y_pred)  # noqa: E731
    model.compile("sgd", loss)
    model.fit(images, images, verbose=0)
    assert np.isfinite(model.layers[1].get_weights()[0]).all()
