import keras
import numpy as np
import pytest
from contracts import POLICIES, check_training, outputs_of, random_images
from keras import ops
from models.test_autoencoder import photo_crops

from keras_recon.models import RestorationUNet
from keras_recon.models.image_model import can_export

TINY = {"image_shape": (16, 16, 3), "filters": (6, 8), "num_blocks": 1}


def noisy(images, seed=0):
    return (images + 0.1 * np.random.default_rng(seed).standard_normal(images.shape)).astype("float32")


@pytest.mark.parametrize("changes", [{}, {"image_shape": (8, 24, 1), "filters": (4, 4, 6)}])
def test_contract(changes, tmp_path):
    config = {**TINY, **changes}
    model = RestorationUNet.from_config(config)
    images = noisy(random_images(4, *model.image_shape))
    model.summary(print_fn=lambda text: None)
    np.testing.assert_array_equal(outputs_of(model, images), images.clip(0, 1))  # it starts at its input
    assert not model.is_masked and not any(hasattr(model, name) for name in ("encode", "latent_dim", "latent_shape"))
    for name, value in config.items():
        assert model.get_config()[name] == value, name
    check_training(model, images, random_images(*images.shape))
    outputs = outputs_of(model, images)
    np.testing.assert_allclose(model.predict(images, verbose=0), outputs, atol=1e-5)
    model.save(tmp_path / "model.keras")
    for copy in (keras.saving.load_model(tmp_path / "model.keras"), model.clone()):
        np.testing.assert_allclose(outputs_of(copy, images), outputs, atol=1e-6)
    for policy in POLICIES[1:]:
        half = RestorationUNet.from_config({**config, "dtype": policy})
        check_training(half, images, random_images(*images.shape))
        assert np.isfinite(outputs_of(half, images)).all()


def test_it_enlarges(tmp_path):
    model = RestorationUNet(**TINY, upscale=2)
    images = random_images(2, 16, 16, 3)
    enlarged = images.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(outputs_of(model, images), enlarged)  # it starts at nearest neighbours
    check_training(model, images, random_images(2, 32, 32, 3))
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert outputs_of(copy.for_image_shape((24, 8, 3)), random_images(1, 24, 8, 3)).shape == (1, 48, 16, 3)
    np.testing.assert_allclose(outputs_of(copy, images), outputs_of(model, images), atol=1e-6)
    with pytest.raises(ValueError, match="Received: upscale=3"):
        RestorationUNet(**TINY, upscale=3)


def test_it_learns_to_remove_noise():
    clean = photo_crops()
    model = RestorationUNet(**TINY)
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-10), "mse")
    model.fit(noisy(clean[::2]), clean[::2], batch_size=8, epochs=5, verbose=0)
    error = np.square(outputs_of(model, noisy(clean[1::2], seed=1)) - clean[1::2]).mean()
    assert error < 0.7 * 0.01  # the noise's variance


def test_other_sizes_with_the_same_weights():
    model = RestorationUNet((16, 16, 3), filters=(6,), num_blocks=1)  # which sees 16 pixels far at most
    model.decoder.upsamples[0].conv.kernel.assign(np.full(model.decoder.upsamples[0].conv.kernel.shape, 0.1))
    images = random_images(1, 64, 48, 3)
    larger = outputs_of(model.for_image_shape((64, 48, 3)), images)
    middle = outputs_of(model.for_image_shape((48, 48, 3)), images[:, 8:56])
    # What is far from the edges is the same, whatever the size.
    np.testing.assert_allclose(larger[:, 30:34], middle[:, 22:26], atol=1e-5)
    assert np.abs(larger - images).max() > 1e-3


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("size", [(17, 30), (1, 1), (3, 2), (16, 5)])
def test_any_size_is_padded_by_reflection_and_cropped(size, upscale):
    model = moved(RestorationUNet(**TINY, upscale=upscale))
    images = random_images(2, *size, 3)
    outputs = outputs_of(model, images)
    enlarged = images.repeat(upscale, axis=1).repeat(upscale, axis=2)
    sides = enlarged.shape[1:3]
    pads = [(0, -side % 4) for side in sides]
    padded = np.pad(enlarged, [(0, 0), *pads, (0, 0)], mode="reflect")
    plain = moved(RestorationUNet(**TINY))
    expected = outputs_of(plain, padded)[:, : sides[0], : sides[1]]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)


def test_any_size_in_training_and_in_functional_models(tmp_path):
    model = moved(RestorationUNet(**TINY))
    images = random_images(2, 13, 22, 3)
    inputs = keras.Input((None, None, 3))
    functional = keras.Model(inputs, model(inputs))
    assert functional.output_shape == (None, None, None, 3)
    np.testing.assert_allclose(functional.predict(images, verbose=0), outputs_of(model, images), atol=1e-5)
    model.compile("adamw", "mse")
    assert np.isfinite(model.fit(images, images, verbose=0).history["loss"]).all()
    if can_export("tf_saved_model") and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        unknown = model.for_image_shape((None, None, 3))
        unknown.export(tmp_path / "served", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "served"))
        np.testing.assert_allclose(loaded.serve(images), outputs_of(model, images), atol=1e-5)


def moved(model):
    """The model with random numbers in place of the zeros of its last layer."""
    kernel = model.decoder.upsamples[-1].conv.kernel
    kernel.assign(0.05 * np.random.default_rng(5).standard_normal(kernel.shape))
    return model


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="filters=\\(\\)"):
        RestorationUNet(filters=())
    with pytest.raises(ValueError, match="image_shape=\\(16, 16\\)"):
        RestorationUNet((16, 16), filters=(6, 8))
    assert ops.shape(RestorationUNet(**TINY)(np.zeros((2, 16, 16, 3)))) == (2, 16, 16, 3)
