import keras
import numpy as np
import pytest
from contracts import random_images
from inference.test_reconstruction import identity

from keras_recon.images.pixels import from_float, to_float
from keras_recon.inference import PhotoProtocol, in_bits_of
from keras_recon.models import RestorationUNet


def noise(image, rng):
    return image + rng.normal(0, 0.1, image.shape).astype("float32")


@pytest.fixture
def photo():
    return from_float(random_images(1, 40, 50, 3)[0], "uint8")


def test_the_same_name_and_seed_give_the_same_degradation(photo):
    model = identity()
    outputs = [
        PhotoProtocol(noise, seed).output(model, photo, name) for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2]) and not np.array_equal(outputs[0], outputs[3])
    error = outputs[0].astype("float32") - photo
    assert np.std(error[(photo > 60) & (photo < 195)]) == pytest.approx(25.5, rel=0.05)


def test_outputs_are_in_the_bits_of_the_photo_unless_measured_as_floats(photo):
    model = identity()
    model.linear.decoder.assign(0.9 * np.eye(3))
    quantized, unquantized = (PhotoProtocol(quantize=q).output(model, photo, "a") for q in (True, False))
    expected = 0.5 + 0.9 * (to_float(photo) - 0.5)
    np.testing.assert_allclose(unquantized, expected, atol=1e-6)
    np.testing.assert_array_equal(quantized, np.rint(unquantized * 255))
    np.testing.assert_array_equal(in_bits_of(photo, unquantized), quantized)
    difference = PhotoProtocol(border=3).scores(expected, quantized)["psnr"]
    assert difference == pytest.approx(10 * np.log10(12 * 255**2), abs=0.5)  # rounding has a variance of 1/12


def test_what_could_not_be_measured_is_refused_at_once():
    larger = RestorationUNet((16, 16, 3), filters=(6,), num_blocks=1, upscale=2)
    with pytest.raises(ValueError, match="`degradation` must be None for a model that enlarges"):
        PhotoProtocol(noise).check(larger)
    PhotoProtocol(color_space="y").check(larger)
    with pytest.raises(ValueError, match="`color_space` must be 'rgb' for 4 channels"):
        PhotoProtocol(color_space="y").check(identity((16, 12, 4)))
    PhotoProtocol(noise).check(identity((16, 12, 4)))


def test_fingerprint(photo):
    fingerprint = PhotoProtocol(seed=3, border=2, overlap=4, color_space="y").fingerprint(identity())
    assert fingerprint["tile"] == (16, 12) and fingerprint["overlap"] == (4, 4)
    assert "2 pixels" in fingerprint["crop"] and fingerprint["color space"].startswith("Y of BT.601")
    assert fingerprint["degradation"] is None and fingerprint["seed"] is None
    assert fingerprint["backend"] == keras.backend.backend()
    assert set(fingerprint["versions"]) == {"keras_recon", "keras", "numpy", "PIL", keras.backend.backend()}
    assert fingerprint["versions"]["keras"] == keras.__version__
    degraded = PhotoProtocol(noise, seed=3).fingerprint(identity())
    assert degraded["degradation"] == str(noise) and degraded["seed"] == 3
