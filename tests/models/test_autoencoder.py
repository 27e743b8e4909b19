import keras
import numpy as np
import pytest
import skimage.data
from contracts import check_model, outputs_of, random_images, slow
from keras import ops
from models.test_vit import TINY as TINY_VIT

import keras_recon
from keras_recon.data.batches import Batches
from keras_recon.models import ConvAutoencoder, LinearReconstructor, RestorationUNet

TINY = {"image_shape": (16, 16, 3), "filters": (6, 8), "latent_dim": 5}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        slow({"linear_path": False, "upsampling": "resize"}),
        slow({"image_shape": (8, 12, 1), "normalization": "layer", "upsampling": "transposed"}),
        {"image_shape": (24, 8, 4), "filters": (4, 4, 8), "num_blocks": 2, "dropout_rate": 0.1, "kl_weight": 0.01},
    ],
)
def test_contract(changes, tmp_path):
    check_model(ConvAutoencoder, {**TINY, **changes}, tmp_path)


def test_after_adapt_it_equals_pca():
    """`LinearReconstructor` is compared with PCA itself in `test_vit`."""
    images = random_images(40, 16, 16, 3)
    model = ConvAutoencoder(**TINY, linear_path=True)
    pca = LinearReconstructor(**{name: TINY_VIT[name] for name in ("image_shape", "patch_size", "latent_dim")})
    for each in (model, pca):
        each.adapt(images)
    np.testing.assert_allclose(outputs_of(model, images), outputs_of(pca, images), atol=1e-5)


def photo_crops():
    photo = skimage.data.cat()[:288, :448].astype("float32") / 255
    return photo.reshape(18, 16, 28, 16, 3).swapaxes(1, 2).reshape(-1, 16, 16, 3)


def psnr(outputs, images):
    return np.mean(-10 * np.log10(np.square(ops.convert_to_numpy(outputs) - images).mean((1, 2, 3))))


@pytest.mark.slow
def test_small_batches_train_to_what_inference_gives():
    images = photo_crops()
    model = ConvAutoencoder(**TINY, linear_path=True)
    model.adapt(images)
    start = psnr(outputs_of(model, images), images)
    # Down to zero: at a constant rate the last step alone moves the end by 0.1 dB.
    rate = keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=5 * len(images) // 4)
    model.compile(keras.optimizers.Adam(rate, epsilon=1e-10), "mse")
    model.fit(images, images, batch_size=4, epochs=5, verbose=0)
    end = psnr(outputs_of(model, images), images)
    assert end > start + 0.1
    in_training = [ops.convert_to_numpy(model(images[i : i + 4], training=True)) for i in range(0, len(images), 4)]
    # Four images' own statistics are noise that inference is spared: it may be better, not worse.
    assert -0.05 < end - psnr(np.concatenate(in_training).clip(0, 1), images) < 0.5


def test_a_file_with_skips_names_the_model_to_use():
    config = ConvAutoencoder(**TINY).get_config()
    assert ConvAutoencoder.from_config({**config, "skips": False}).get_config().keys() == config.keys()
    with pytest.raises(ValueError, match="use a RestorationUNet"):
        ConvAutoencoder.from_config({**config, "skips": True})


def test_variational_bottleneck_draws_in_training_and_adds_the_divergence():
    images = random_images(4, 16, 16, 3)
    model = ConvAutoencoder(**TINY, kl_weight=0.5, seed=1)
    model.adapt(images)
    mean = ops.convert_to_numpy(model.encode(images))
    np.testing.assert_array_equal(mean, ops.convert_to_numpy(model.encode(images, training=True)))
    first, second = (ops.convert_to_numpy(model(images, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    # The head of the variance starts at the constant -6.
    divergence = np.mean((mean**2 + np.exp(-6.0) - 1.0 + 6.0) / 2.0)
    assert abs(float(model.losses[-1]) - 0.5 * divergence) < 1e-4
    np.testing.assert_array_equal(*(ops.convert_to_numpy(model(images, training=False)) for _ in range(2)))
    assert not model.losses


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_shape": (16, 18, 3)}, r"filters=\(6, 8\), image_shape=\(16, 18, 3\)"),
        ({"kl_weight": -1.0}, "kl_weight=-1.0"),
        ({"normalization": "instance"}, "normalization='instance'"),
        ({"upsampling": "bilinear"}, "upsampling='bilinear'"),
        ({"latent_dim": 49}, "latent_dim=49"),
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        ConvAutoencoder(**{**TINY, **changes})


@pytest.mark.parametrize("variant", ConvAutoencoder.variants)
def test_variants(variant):
    model = ConvAutoencoder.from_variant(variant, image_shape=(16, 16, 3), num_blocks=1)
    assert model.filters == ConvAutoencoder.variants[variant]["filters"] and model.num_blocks == 1


@pytest.mark.parametrize("build", [ConvAutoencoder, RestorationUNet])
def test_any_height_and_width(build, tmp_path):
    unknown, fixed = (
        build(image_shape=shape, filters=(6, 8), num_blocks=1) for shape in ((None, None, 3), (16, 24, 3))
    )
    fixed.set_weights(unknown.get_weights())
    images = random_images(8, 16, 24, 3)
    if unknown.linear_path:
        unknown.adapt(images)
        fixed.adapt(images)
        assert unknown.latent_shape == (None, None, 12) and unknown.compression_ratio == fixed.compression_ratio
    np.testing.assert_allclose(outputs_of(unknown, images), outputs_of(fixed, images), atol=1e-6)
    unknown.compile("adamw", "charbonnier", metrics=["psnr"])
    pairs = [(sized, sized) for sized in (images, random_images(8, 8, 12, 3), random_images(8, 4, 4, 3))]
    unknown.fit(Batches(lambda epoch, step: pairs[step], steps=len(pairs), threads=1), epochs=2, verbose=0)
    if keras.backend.backend() == "jax":
        with pytest.raises(RuntimeError, match=r"such as `model\.for_image_shape\(\(128, 128, 3\)\)`, .*\(None, None"):
            unknown.export(tmp_path / "unknown", verbose=False)
    inputs = keras.Input((None, None, 3))
    if isinstance(unknown, ConvAutoencoder):
        latents = ops.convert_to_numpy(unknown.encode(images))
        np.testing.assert_allclose(outputs_of(keras.Model(inputs, unknown.encode(inputs)), images), latents, atol=1e-6)
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(unknown(inputs))).save(tmp_path / "functional.keras")
    loaded = keras.saving.load_model(tmp_path / "functional.keras")
    for sized, _ in pairs:
        means = outputs_of(unknown, sized).mean(axis=(1, 2))
        np.testing.assert_allclose(outputs_of(loaded, sized), means, atol=1e-5)
    assert outputs_of(unknown.for_image_shape((8, 12, 3)), pairs[1][0]).shape == (8, 8, 12, 3)
    with pytest.raises(ValueError, match=r"such as model\.for_image_shape\(\(128, 128, 3\)\)\. Received: image_shape"):
        keras_recon.reconstruct(unknown, images[0])
    with pytest.raises(ValueError, match=r"\(batch, height, width, 3\), .* multiples of 1?4?\..*\(8, 16, 22, 4"):
        unknown(np.concatenate([images[:, :, :22], images[:, :, :22, :1]], axis=-1))


def test_other_sizes_than_the_models_own(tmp_path):
    model = ConvAutoencoder(**TINY)
    model.adapt(random_images(8, 16, 16, 3))
    images = random_images(4, 24, 8, 3)
    expected = outputs_of(model.for_image_shape((24, 8, 3)), images)
    np.testing.assert_allclose(outputs_of(model, images), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)
    model.compile("adamw", "mse")
    assert np.isfinite(model.fit(images, images, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match=r"multiples of 4\. Received: shape=\(4, 24, 6, 3\)"):
        model(images[:, :, :6])
