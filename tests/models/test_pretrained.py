import keras
import numpy as np
import pytest
from contracts import check_model, outputs_of, random_images, slow
from keras import ops
from models.test_vit import TINY as TINY_VIT
from models.tiny_backbones import DECODER, tiny, tiny_backbone

from keras_recon.models import LinearReconstructor, PretrainedViTReconstructor
from keras_recon.optimizers import LayerwiseAdamW


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stem_filters": (4, 8), "feature_layers": (1,)},
        slow({"linear_path": False, "feature_layers": (0, 2), "decoder": "linear", "strategy": "last:1"}),
        slow({"family": "dinov2", "decoder": "conv", "mean": (0.4, 0.5, 0.6), "strategy": "last:2"}),
    ],
)
def test_contract(changes, tmp_path):
    check_model(PretrainedViTReconstructor, tiny(**changes).get_config(), tmp_path)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def test_features_are_the_outputs_of_the_chosen_blocks():
    images = random_images(2, 16, 16, 3)
    model = tiny("dinov2", feature_layers=(0, 2, 3), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    pyramid = keras.Model(model.backbone.inputs, dict(model.backbone.pyramid_outputs))
    outputs = pyramid.predict((images - model.mean) / np.array(model.std, "float32"), verbose=0)
    expected = [layer_norm(outputs[name])[:, 2:].reshape(2, 4, 4, 8) for name in ("stem", "stage2", "stage3")]
    features = ops.convert_to_numpy(model.features(images))
    np.testing.assert_allclose(features, np.concatenate(expected, axis=-1), atol=1e-4)
    # A ViT's output is its last block's behind a norm, here still with gamma 1 and beta 0.
    model = tiny("vit", feature_layers=(3,))
    tokens = outputs_of(model.backbone, 2 * images - 1)[:, 1:]
    features = ops.convert_to_numpy(model.features(images))
    np.testing.assert_allclose(features, tokens.reshape(2, 4, 4, 8), atol=1e-4)


def test_a_stem_sees_pixels_that_the_backbone_does_not():
    model = tiny(stem_filters=(4, 8), feature_layers=(1,), strategy="frozen")
    assert model.latent_head.kernel.shape[0] == 8 + 8
    assert "convolutional stem" in model.trainable_report()
    images = random_images(2, 16, 16, 3)
    block, stem = np.split(ops.convert_to_numpy(model.features(images)), 2, axis=-1)
    levels = model.conv_stem(4.0 * images - 2.0)
    np.testing.assert_allclose(stem, ops.convert_to_numpy(levels[-1]), atol=1e-5)
    without = tiny(feature_layers=(1,))
    without.backbone.set_weights(model.backbone.get_weights())
    np.testing.assert_allclose(block, ops.convert_to_numpy(without.features(images)), atol=1e-5)
    assert all(v.trainable for v in model.conv_stem.weights) and model.conv_stem.trainable_weights


def test_after_adapt_it_equals_pca():
    images = random_images(40, 16, 16, 3)
    model = tiny(linear_path=True)
    pca = LinearReconstructor(**{name: TINY_VIT[name] for name in ("image_shape", "patch_size", "latent_dim")})
    for each in (model, pca):
        each.adapt(images)
    np.testing.assert_allclose(outputs_of(model, images), outputs_of(pca, images), atol=1e-5)


def test_from_preset_fits_size_and_channels(tmp_path):
    tiny_backbone("dinov2").save_to_preset(tmp_path / "preset")
    with pytest.warns(UserWarning, match="no mean and std"):
        model = PretrainedViTReconstructor.from_preset(
            str(tmp_path / "preset"), image_shape=(24, 24, 1), latent_dim=3, **DECODER
        )
    assert model.latent_shape == (6, 6, 3) and model.mean == (0.5,)
    images = random_images(2, 24, 24, 1)
    model.adapt(images)
    outputs = outputs_of(model, images)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs_of(keras.saving.load_model(tmp_path / "model.keras"), images), outputs)


def test_the_report_counts_what_trains():
    model = tiny(strategy="last:1")
    report = model.trainable_report()
    total = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert report.splitlines()[-1].split()[-1] == f"{total:,}"
    assert report.splitlines()[-1].split()[-2] != report.splitlines()[-1].split()[-1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"feature_layers": (4,)}, r"feature_layers=\(4,\)"),
        ({"feature_layers": ()}, r"feature_layers=\(\)"),
        ({"strategy": "half"}, "strategy='half'"),
        ({"strategy": "last:0"}, "strategy='last:0'"),
        ({"strategy": "lora:1.5"}, "strategy='lora:1.5'"),
        ({"strategy": "llrd:2"}, "strategy='llrd:2'"),
        ({"strategy": "full:1"}, "strategy='full:1'"),
        ({"decoder": "gan"}, "decoder='gan'"),
        ({"mean": (0.5,)}, r"mean=\(0.5,\)"),
        ({"std": (0.5, 0.5, 0.0)}, r"std=\(0.5, 0.5, 0.0\)"),
        ({"latent_dim": 49}, "latent_dim=49"),
        ({"stem_filters": (4, 8, 16)}, r"the patch size, 4. Received: stem_filters=\(4, 8, 16\)"),
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_fit_takes_keras_arguments_by_position():
    model, images = tiny(strategy="gradual:1"), random_images(4, 16, 16, 3)
    model.compile(LayerwiseAdamW(1e-3), "mse")
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    epochs = []
    model.fit(images, images, 2, 2, 0, [seen], 0.0, (images, images))
    assert epochs == [0, 1] and "val_loss" in model.history.history


def test_a_name_is_no_backbone():
    with pytest.raises(ValueError, match=r"from_preset` loads one by its name. Received: backbone='vit_base'"):
        PretrainedViTReconstructor("vit_base")
