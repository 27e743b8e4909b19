import re

import keras
import numpy as np
import pytest
from contracts import check_model, outputs_of, random_images, slow
from keras import ops
from models.test_vit import TINY as TINY_VIT
from models.tiny_backbones import tiny_backbone

import keras_recon
from keras_recon.callbacks import GradualUnfreezing
from keras_recon.models import LinearReconstructor, PretrainedViTReconstructor
from keras_recon.models.trainable import lora_variables
from keras_recon.optimizers import LayerwiseAdamW

DECODER = {"decoder_num_layers": 1, "decoder_num_heads": 2, "decoder_hidden_dim": 8, "decoder_mlp_dim": 12}


def tiny(family="vit", image_shape=(16, 16, 3), **changes):
    return PretrainedViTReconstructor(tiny_backbone(family, image_shape), **{"latent_dim": 5, **DECODER, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        slow({"linear_path": False, "feature_layers": (0, 2), "decoder": "linear", "strategy": "last:1"}),
        slow({"family": "dinov2", "decoder": "conv", "mean": (0.4, 0.5, 0.6), "strategy": "last:2"}),
    ],
)
def test_contract(changes, tmp_path):
    check_model(PretrainedViTReconstructor, tiny(**changes).get_config(), tmp_path)


@pytest.mark.parametrize("family", ["deit", "dinov3", "siglip", "clip"])
def test_other_families(family):
    model = tiny(family)
    images = random_images(2, 16, 16, 3)
    expected = {v.path for v in model.backbone.variables if v.trainable}
    assert moved(model, images) - keys(model) == expected - keys(model)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def test_features_are_the_outputs_of_the_chosen_blocks():
    images = random_images(2, 16, 16, 3)
    model = tiny("dinov2", feature_layers=(0, 2, 3), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    pyramid = keras.Model(model.backbone.inputs, dict(model.backbone.pyramid_outputs))
    outputs = pyramid.predict((images - model.mean) / np.array(model.std, "float32"), verbose=0)
    expected = [layer_norm(outputs[name])[:, 2:].reshape(2, 4, 4, 8) for name in ("stem", "stage2", "stage3")]
    features = ops.convert_to_numpy(model.features(images, None))
    np.testing.assert_allclose(features, np.concatenate(expected, axis=-1), atol=1e-4)
    # A ViT's output is its last block's behind a norm, here still with gamma 1 and beta 0.
    model = tiny("vit", feature_layers=(3,))
    tokens = outputs_of(model.backbone, 2 * images - 1)[:, 1:]
    features = ops.convert_to_numpy(model.features(images, None))
    np.testing.assert_allclose(features, tokens.reshape(2, 4, 4, 8), atol=1e-4)


def test_after_adapt_it_equals_pca():
    images = random_images(40, 16, 16, 3)
    model = tiny(linear_path=True)
    pca = LinearReconstructor(**{name: TINY_VIT[name] for name in ("image_shape", "patch_size", "latent_dim")})
    for each in (model, pca):
        each.adapt(images)
    np.testing.assert_allclose(outputs_of(model, images), outputs_of(pca, images), atol=1e-5)


BLOCK = r"transformer_block_%s/"
STRATEGIES = {
    "frozen": "$^",
    "full": ".",
    "gradual": ".",
    "llrd:0.5": ".",
    "last:1": BLOCK % 2,
    "lora:2": r"transformer_block_[12]/mha/(query|value)/lora_kernel",
    "bitfit": r"embedding/bias|transformer_block_[12]/.*(bias|beta)$",
    "layernorm": r"transformer_block_[12]/ln_.*(gamma|beta)$",
}


def train(model, images, epochs):
    """Steps of Adam, eagerly: tracing them takes longer."""
    model.compile(LayerwiseAdamW(1e-2, epsilon=1e-10), "mse", run_eagerly=True)
    model.fit(images, images, epochs=epochs, verbose=0)


def keys(model):
    """The biases of attention keys, which shift all logits of a query alike: their gradient is rounding."""
    return {v.path for v in model.backbone.variables if re.search(r"(key|key_dense|k_proj)/bias", v.path)}


def moved(model, images):
    """The backbone's variables that four epochs of a step change: as many as `gradual` needs for three depths."""
    before = {v.path: np.array(ops.convert_to_numpy(v)) for v in model.backbone.variables}
    train(model, images, epochs=4)
    return {v.path for v in model.backbone.variables if not np.array_equal(before[v.path], ops.convert_to_numpy(v))}


QUICK = ("full", "gradual", "lora:2")


@pytest.mark.parametrize("strategy", [name if name in QUICK else slow(name) for name in STRATEGIES])
def test_the_right_weights_move_and_still_do_after_loading(strategy, tmp_path):
    model = tiny(strategy=strategy, feature_layers=(1, 2))
    images = random_images(4, 16, 16, 3)
    model.adapt(images)
    run = [v.path for v in model.backbone.variables if "block_3" not in v.path and "encoder/ln/" not in v.path]
    expected = {path for path in run if re.search(STRATEGIES[strategy], path)}
    if strategy.startswith("lora"):
        assert expected
    head = model.latent_head.kernel
    start = np.array(ops.convert_to_numpy(head))
    got = moved(model, images)
    assert got - keys(model) == expected - keys(model)
    assert not np.array_equal(start, ops.convert_to_numpy(head))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(loaded, images), outputs_of(model, images), atol=1e-6)
    assert loaded.trainable_report() == model.trainable_report()
    assert moved(loaded, images) - keys(model) == expected - keys(model)


def test_lora_merges_for_use_and_resumes_from_a_checkpoint(tmp_path):
    from keras_recon.export.formats import export_model

    images = random_images(4, 16, 16, 3)
    model = tiny(strategy="lora:2")
    model.adapt(images)
    moved(model, images)
    outputs = outputs_of(model, images)
    model.save_weights(tmp_path / "checkpoint.weights.h5")
    resumed = PretrainedViTReconstructor.from_config(model.get_config())
    resumed.load_weights(tmp_path / "checkpoint.weights.h5")
    for a, b in zip(model.get_weights(), resumed.get_weights()):
        np.testing.assert_array_equal(a, b)
    export_model(model, tmp_path, ["keras"], images)
    merged = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(merged, images), outputs, atol=1e-6)
    assert merged.strategy == "frozen" and not lora_variables(merged.backbone)
    assert any(np.abs(ops.convert_to_numpy(b)).max() > 0 for _, _, b in lora_variables(model.backbone))


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
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_a_frozen_backbone_stays_frozen():
    backbone = tiny_backbone()
    backbone.trainable = False
    for strategy in ("full", "last:1"):
        model = PretrainedViTReconstructor(backbone, latent_dim=5, strategy=strategy)
        assert not model.backbone.trainable_variables and model.decoder.trainable_variables
        loaded = PretrainedViTReconstructor.from_config(model.get_config())
        assert not loaded.backbone.trainable_variables and loaded.decoder.trainable_variables


def test_a_strategy_leaves_the_callers_backbone_alone():
    backbone = tiny_backbone()
    trained = [v.path for v in backbone.trainable_variables]
    frozen, lora = (PretrainedViTReconstructor(backbone, latent_dim=5, strategy=s) for s in ("frozen", "lora:2"))
    assert [v.path for v in backbone.trainable_variables] == trained
    assert not frozen.backbone.trainable_variables and len(lora.backbone.trainable_variables) == 12
    full = PretrainedViTReconstructor(backbone, latent_dim=5)
    assert full.backbone is backbone
    images = random_images(2, 16, 16, 3)
    outputs = [outputs_of(model.backbone, images) for model in (frozen, lora, full)]
    np.testing.assert_array_equal(outputs[0], outputs[2])
    np.testing.assert_array_equal(outputs[1], outputs[2])


def test_strategies_say_which_optimizer_they_need():
    images = random_images(4, 16, 16, 3)
    for strategy in ("llrd:0.5", "gradual:1"):
        model = tiny(strategy=strategy)
        with pytest.raises(ValueError, match=f"must be a keras_recon.optimizers.LayerwiseAdamW.*{strategy}.*AdamW$"):
            model.compile("adamw", "mse")
        model.compile(LayerwiseAdamW(1e-3), "mse")
        assert model.optimizer.depths == model.variable_depths()
    model = tiny()
    model.compile("adamw", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match=r"`GradualUnfreezing` needs .*Received: optimizer=AdamW"):
        model.fit(images, images, verbose=0, callbacks=[GradualUnfreezing(1, 3)])


def test_a_decoder_of_ones_own_is_loaded_again(tmp_path):
    images = random_images(2, 16, 16, 3)
    layers = [keras.layers.UpSampling2D(4), keras.layers.Conv2D(3, 3, padding="same")]
    for decoder in (keras.Sequential(layers), Painter()):
        model = PretrainedViTReconstructor(tiny_backbone(), latent_dim=5, decoder=decoder)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(outputs_of(loaded, images), outputs_of(model, images), atol=1e-6)
    assert isinstance(keras_recon.load_model(tmp_path / "model.keras").decoder, Painter)  # registered in this process
    with pytest.raises(ValueError, match=r"no Lambda.*Received: decoder of type Lambda"):
        tiny(decoder=keras.layers.Lambda(lambda x: x))
    with pytest.raises(
        ValueError, match=r"must make images \(16, 16, 3\)\. Received: a decoder that makes \(8, 8, 5\)"
    ):
        tiny(decoder=keras.layers.UpSampling2D(2))


@keras.saving.register_keras_serializable("test_pretrained")
class Painter(keras.layers.Layer):
    """A user's decoder."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 48), name="kernel")

    def call(self, latents):
        return ops.depth_to_space(latents @ self.kernel, 4)

    def compute_output_shape(self, input_shape):
        return (*[side and 4 * side for side in input_shape[:3]], 3)


def test_a_name_is_no_backbone():
    with pytest.raises(ValueError, match=r"from_preset` loads one by its name. Received: backbone='vit_base'"):
        PretrainedViTReconstructor("vit_base")
