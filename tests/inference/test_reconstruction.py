import sys

import keras
import numpy as np
import pytest
import skimage.data
from contracts import outputs_of, random_images
from models.test_vit import TINY as TINY_VIT

from keras_recon.images.pixels import to_float
from keras_recon.inference import reconstruct, tile_overlaps
from keras_recon.models import ConvAutoencoder, LinearReconstructor, RestorationUNet, ViTReconstructor

module = sys.modules["keras_recon.inference"]  # the package has the function under this name


def identity(image_shape=(16, 12, 3)):
    """A linear autoencoder that keeps every value of its patches: rounding apart, it returns its input."""
    model = LinearReconstructor(image_shape, patch_size=1, latent_dim=image_shape[2])
    model.linear.encoder.assign(np.eye(image_shape[2]))
    model.linear.decoder.assign(np.eye(image_shape[2]))
    return model


@pytest.mark.parametrize("size", [(1, 1), (5, 100), (16, 12), (37, 50)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_an_identity_model_returns_the_image(size, dtype):
    image = np.random.default_rng(0).random((*size, 3))
    if dtype.startswith("uint"):
        image = image * (np.iinfo(dtype).max + 1)
    image = image.astype(dtype)
    output = reconstruct(identity(), image, batch_size=4)
    assert output.dtype == image.dtype and output.shape == image.shape
    np.testing.assert_allclose(output, image, rtol=0, atol=0 if dtype.startswith("uint") else 1e-6)


def test_noise_beyond_the_range_reaches_the_model_and_the_output_is_clipped():
    image = np.random.default_rng(0).normal(0.5, 1.0, (20, 20, 3)).astype("float32")
    model = identity()
    model.linear.decoder.assign(0.25 * np.eye(3))  # 0.5 + 0.25 * (x - 0.5): what lay beyond comes back into the range
    expected = np.clip(0.5 + 0.25 * (image - 0.5), 0, 1)
    np.testing.assert_allclose(reconstruct(model, image), expected, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_refused(value):
    model = identity()
    model.linear.decoder.assign(value * np.eye(3))
    with pytest.raises(ValueError, match="`model` must return finite pixels"):
        reconstruct(model, np.ones((20, 20, 3), "uint8"))


def test_an_image_of_the_models_size_is_one_call():
    image = random_images(1, 16, 16, 3)
    model = ViTReconstructor(**TINY_VIT)
    model.adapt(random_images(40, 16, 16, 3))
    np.testing.assert_allclose(reconstruct(model, image[0]), outputs_of(model, image)[0], atol=1e-6)


def test_an_enlarging_model_gives_a_larger_photo():
    model = RestorationUNet((16, 16, 3), filters=(6,), num_blocks=1, upscale=2)
    photo = np.random.default_rng(0).integers(0, 256, (37, 21, 3), "uint8")
    np.testing.assert_array_equal(reconstruct(model, photo), photo.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_is_a_share_of_the_change(channels):
    image = np.random.default_rng(0).normal(0.5, 0.4, (20, 20, 3)).astype("float32")
    model = LinearReconstructor((16, 16, channels), patch_size=4, latent_dim=2)
    model.adapt(random_images(40, 16, 16, channels))
    changed, whole = reconstruct(model, image), np.clip(image, 0, 1)
    for strength in (0.0, 0.25, 1.0):
        output = reconstruct(model, image, strength=strength)
        np.testing.assert_allclose(output, strength * changed + (1 - strength) * whole, atol=1e-6)


@pytest.mark.parametrize(
    "upscale, strength, expected", [(1, 1.5, "from 0 to 1"), (1, -0.1, "from 0"), (2, 0.5, "be 1")]
)
def test_a_strength_that_is_none_is_refused(upscale, strength, expected):
    model = RestorationUNet((16, 16, 3), filters=(6,), num_blocks=1, upscale=upscale)
    with pytest.raises(ValueError, match=f"`strength` must .*{expected}.* Received: strength={strength}"):
        reconstruct(model, np.zeros((20, 20, 3), "uint8"), strength=strength)


def test_tiles_leave_no_seams():
    """Against one pass over the whole photo: what the zeros around a tile change fades out towards its middle."""
    crops = to_float(skimage.data.cat()[:256, :448]).reshape(4, 64, 7, 64, 3).swapaxes(1, 2).reshape(-1, 64, 64, 3)
    photo = to_float(skimage.data.coffee()[100:220, 200:360])
    model = ConvAutoencoder((64, 64, 3), filters=(8, 12), latent_dim=6)
    model.adapt(crops)
    pca = reconstruct(model, photo)  # the network's last layers are zero
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.05 * rng.standard_normal(weight.shape))
    single = reconstruct(model.for_image_shape(photo.shape), photo)
    assert np.abs(single - pca).mean() > 0.01
    blended, abutting = (reconstruct(model, photo, overlap) - single for overlap in (16, 0))
    # Of a network of noise; after 32 steps of training it was 0.0004 on average, 0.005 at most.
    assert np.abs(blended).mean() < 0.01 and np.abs(blended).max() < 0.1
    seams = [np.abs(error[:, 64:160:64] - error[:, 63:159:64]).mean() for error in (blended, abutting)]
    assert seams[0] < 0.3 * seams[1], seams


def test_gray_and_colour_for_models_of_other_channels():
    image = random_images(1, 20, 30, 3)[0]
    pca = LinearReconstructor((16, 16, 3), patch_size=4, latent_dim=5)
    pca.adapt(random_images(40, 16, 16, 3))
    colour = reconstruct(pca, np.repeat(image[..., :1], 3, axis=2))
    gray = reconstruct(pca, image[..., :1])
    np.testing.assert_allclose(gray[..., 0], colour.mean(axis=2), atol=1e-6)
    pca = LinearReconstructor((16, 16, 1), patch_size=4, latent_dim=5)
    pca.adapt(random_images(40, 16, 16, 1))
    output = reconstruct(pca, image)
    for channel in range(3):
        np.testing.assert_array_equal(output[..., [channel]], reconstruct(pca, image[..., [channel]]))


def test_batches_have_one_size_and_progress_counts_tiles():
    model, done, sizes = identity(), [], []
    predict = model.predict_on_batch
    model.predict_on_batch = lambda batch: (sizes.append(len(batch)), predict(batch))[1]
    reconstruct(model, random_images(1, 40, 40, 3)[0], 4, batch_size=8, progress=lambda *counts: done.append(counts))
    assert done == [(8, 15), (15, 15)] and sizes == [8, 8]  # 3 rows of 5 tiles
    sizes.clear()
    reconstruct(model, random_images(1, 20, 20, 3)[0], 4)
    assert sizes == [4]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles all, PyTorch nothing")
def test_many_tiles_of_a_transformer_are_compiled_by_xla_to_the_same_pixels(monkeypatch):
    model, photo, rng = ViTReconstructor(**TINY_VIT), random_images(1, 40, 40, 3)[0], np.random.default_rng(0)
    for weight in model.trainable_variables:  # the last layers are zero at first
        weight.assign(weight + rng.normal(0, 0.1, weight.shape))
    expected = reconstruct(model, photo)
    monkeypatch.setattr(module, "XLA_MIN_TILES", 9)
    monkeypatch.setattr(model, "predict_on_batch", lambda images: pytest.fail("not compiled by XLA"))
    np.testing.assert_allclose(reconstruct(model, photo), expected, atol=1e-5)
    model.enable_lora(2)  # of which what was compiled does not know
    for update in model.trainable_variables:
        update.assign(rng.normal(0, 0.3, update.shape))
    changed = reconstruct(model, photo)
    assert np.abs(changed - expected).max() > 1e-2
    np.testing.assert_allclose(changed, reconstruct(model.merged(), photo), atol=1e-5)


def test_a_masked_model_is_refused_as_tiles_would_show_each_other_what_they_hide():
    with pytest.raises(ValueError, match=r"must see whole tiles: .* Received: a masked model"):
        reconstruct(ViTReconstructor(**TINY_VIT, mask_ratio=0.5), np.zeros((20, 20, 3), "uint8"))


@pytest.mark.parametrize(
    "shape, dtype, options, message",
    [
        ((8, 8), "uint8", {}, r"shape=\(8, 8\)"),
        ((0, 8, 3), "uint8", {}, r"shape=\(0, 8, 3\)"),
        ((8, 8, 4), "uint8", {}, r"1 or 3 channels\). Received: shape=\(8, 8, 4\)"),
        ((8, 8, 3), "int32", {}, "dtype=int32"),
        ((8, 8, 3), "uint8", {"overlap": 7}, "half the tile, 16x12 pixels. Received: overlap=7"),
        ((8, 8, 3), "uint8", {"overlap": -1}, "overlap=-1"),
        ((8, 8, 3), "uint8", {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_wrong_arguments_get_one_sentence(shape, dtype, options, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(identity(), np.zeros(shape, dtype), **options)


def test_default_overlap_is_a_sixth_of_the_tile():
    assert tile_overlaps((64, 48), None) == (10, 8)
    assert tile_overlaps((64, 48), 0) == (0, 0)
