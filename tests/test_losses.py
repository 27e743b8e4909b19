import keras
import numpy as np
import pytest
from contracts import check_loss, random_images
from skimage.metrics import structural_similarity

from keras_recon import losses

Y_TRUE, Y_PRED = random_images(2, 16, 16, 3, seed=1), random_images(2, 16, 16, 3, seed=2)


@pytest.mark.parametrize("text", ["mse", "l1", "charbonnier", "ssim", "charbonnier+0.2*ssim"])
def test_contract(text):
    check_loss(losses.from_string(text))


def test_charbonnier_is_its_formula():
    expected = np.sqrt((Y_TRUE - Y_PRED) ** 2 + 0.1**2).mean()
    assert float(losses.Charbonnier(epsilon=0.1)(Y_TRUE, Y_PRED)) == pytest.approx(expected, rel=1e-5)


def test_ssim_loss_is_one_minus_scikit_images():
    options = {"data_range": 1, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}
    expected = 1 - np.mean([structural_similarity(a, b, **options) for a, b in zip(Y_TRUE, Y_PRED)])
    assert float(losses.SSIMLoss()(Y_TRUE, Y_PRED)) == pytest.approx(expected, abs=1e-5)


def test_a_mix_is_the_weighted_sum():
    mix = float(losses.from_string("0.5*mse+2*l1+ssim")(Y_TRUE, Y_PRED))
    parts = [float(losses.from_string(name)(Y_TRUE, Y_PRED)) for name in ("mse", "l1", "ssim")]
    assert mix == pytest.approx(0.5 * parts[0] + 2 * parts[1] + parts[2], rel=1e-5)
    assert isinstance(losses.from_string(" l1"), keras.losses.MeanAbsoluteError)


@pytest.mark.parametrize("text", ["", "huber", "l1+", "x*l1", "l1-ssim", "1.2.3*l1"])
def test_an_unknown_loss_is_named(text):
    with pytest.raises(ValueError, match="Received: loss="):
        losses.from_string(text)


def test_get_takes_what_keras_takes():
    loss = losses.Charbonnier()
    assert losses.get(loss) is loss and losses.get(None) is None
    assert isinstance(losses.get("ms_ssim"), losses.MultiScaleSSIMLoss)
    assert losses.get("huber") is keras.losses.huber
    with pytest.raises(ValueError, match=r"'charbonnier'.*Received: loss='hubert'"):
        losses.get("hubert")


def test_losses_and_weights_must_match():
    with pytest.raises(ValueError, match="Received: 1 and 2"):
        losses.WeightedLoss([losses.Charbonnier()], [1.0, 2.0])
