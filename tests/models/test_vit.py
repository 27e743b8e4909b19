import keras
import numpy as np
import pytest
import skimage.data
from contracts import check_model, outputs_of, random_images, slow
from keras import ops

from keras_recon.models import LinearReconstructor, ViTReconstructor

TINY = {
    "image_shape": (16, 16, 3),
    "patch_size": 4,
    "latent_dim": 5,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 24,
    "decoder_num_layers": 1,
    "decoder_num_heads": 2,
    "decoder_hidden_dim": 8,
    "decoder_mlp_dim": 12,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        slow({"linear_path": False, "decoder": "linear"}),
        slow({"image_shape": (8, 12, 1), "position_embedding": "sincos", "decoder": "conv"}),
        {"image_shape": (24, 8, 4), "patch_size": 8, "dropout_rate": 0.1, "drop_path_rate": 0.2},
    ],
)
def test_contract(changes, tmp_path):
    check_model(ViTReconstructor, {**TINY, **changes}, tmp_path)


def test_after_adapt_it_equals_pca():
    images = random_images(40, 16, 16, 3)
    model = ViTReconstructor(**TINY, linear_path=True)
    model.adapt(images)
    patches = images.reshape(40, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 48).astype("float64")
    _, vectors = np.linalg.eigh(np.cov(patches.T))
    kept = vectors[:, -5:]
    pca = (patches - patches.mean(0)) @ kept @ kept.T + patches.mean(0)
    pca = pca.reshape(40, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(40, 16, 16, 3).clip(0, 1)

    def psnr(outputs):
        return np.mean(-10 * np.log10(((outputs - images) ** 2).mean((1, 2, 3))))

    assert abs(psnr(outputs_of(model, images)) - psnr(pca)) < 0.01


def test_training_improves_on_pca():
    photo = skimage.data.cat()[:288, :448].astype("float32") / 255
    images = photo.reshape(18, 16, 28, 16, 3).swapaxes(1, 2).reshape(-1, 16, 16, 3)
    model = ViTReconstructor(**TINY)
    model.adapt(images)
    model.compile(keras.optimizers.Adam(3e-3, epsilon=1e-10), "mse")
    start = model.evaluate(images, images, verbose=0)
    model.fit(images, images, epochs=8, batch_size=16, verbose=0)
    assert model.evaluate(images, images, verbose=0) < 0.99 * start


def test_dropout_acts_in_training_only():
    model = ViTReconstructor(**TINY, dropout_rate=0.5, linear_path=False)
    images = random_images(2, 16, 16, 3)
    first, second = (ops.convert_to_numpy(model(images, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    first, second = (ops.convert_to_numpy(model(images, training=False)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("variant", ["micro", "tiny", "small"])
def test_variants(variant):
    options = {"image_shape": (32, 32, 3), "patch_size": 16, "num_layers": 1, "decoder_num_layers": 1}
    model = ViTReconstructor.from_variant(variant, **options)
    config = model.get_config()
    expected = {**ViTReconstructor.variants[variant], **options}
    assert {name: config[name] for name in expected} == expected


def test_large_variants_are_the_published_ones():
    sizes = ("num_layers", "num_heads", "hidden_dim", "mlp_dim")
    for variant, published in {"base": [12, 12, 768, 3072], "large": [24, 16, 1024, 4096]}.items():
        assert [ViTReconstructor.variants[variant][size] for size in sizes] == published


def test_base_encoder_has_vit_b_16s_parameters():
    """ViT-B/16 without its head has 85.8 million: 12 blocks, final norm, embedding, positions and class token."""
    model = ViTReconstructor.from_variant("base", image_shape=(224, 224, 3), patch_size=16, decoder_num_layers=1)
    # Theirs has a class token with a position of its own: 2 * 768 more.
    assert model.encoder.count_params() == 85_798_656 - 2 * 768


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"patch_size": 5}, "patch_size=5, image_shape=\\(16, 16, 3\\)"),
        ({"image_shape": (16, 16)}, "image_shape=\\(16, 16\\)"),
        ({"latent_dim": 49}, "latent_dim=49"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"num_heads": 3}, "hidden_dim=16, num_heads=3"),
        ({"position_embedding": "none"}, "position_embedding='none'"),
        ({"decoder": "gan"}, "decoder='gan', with patches of 4 pixels"),
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        ViTReconstructor(**{**TINY, **changes})


def test_unknown_variant_is_named():
    with pytest.raises(ValueError, match="variant='huge'"):
        ViTReconstructor.from_variant("huge")


def test_linear_reconstructor_is_the_linear_path(tmp_path):
    config = {name: TINY[name] for name in ("image_shape", "patch_size", "latent_dim")}
    check_model(LinearReconstructor, config, tmp_path)
    images = random_images(20, 16, 16, 3)
    linear, vit = LinearReconstructor(**config), ViTReconstructor(**TINY, linear_path=True)
    linear.adapt(images)
    vit.adapt(images)
    np.testing.assert_allclose(outputs_of(linear, images), outputs_of(vit, images), atol=1e-5)
