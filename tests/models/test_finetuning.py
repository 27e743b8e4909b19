"""What of a pretrained backbone is trained, and how."""

import re

import keras
import numpy as np
import pytest
from contracts import EAGER, outputs_of, random_images, slow
from keras import ops
from models.tiny_backbones import tiny, tiny_backbone

from keras_recon.callbacks import GradualUnfreezing
from keras_recon.models import PretrainedViTReconstructor
from keras_recon.models.finetuning import lora_layers
from keras_recon.optimizers import LayerwiseAdamW

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
    """Steps of Adam."""
    model.compile(LayerwiseAdamW(1e-2, epsilon=1e-10), "mse", run_eagerly=EAGER)
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


@pytest.mark.parametrize("family", ["deit", "dinov3", "siglip", "clip"])
def test_other_families(family):
    model = tiny(family)
    images = random_images(2, 16, 16, 3)
    expected = {v.path for v in model.backbone.variables if v.trainable}
    assert moved(model, images) - keys(model) == expected - keys(model)


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
    assert merged.strategy == "frozen" and not lora_layers(merged.backbone)
    updates = [layer.lora_kernel_b for layer in lora_layers(model.backbone).values()]
    assert any(np.abs(ops.convert_to_numpy(b)).max() > 0 for b in updates)


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
    model.compile("adamw", "mse", run_eagerly=EAGER)
    with pytest.raises(ValueError, match=r"`GradualUnfreezing` needs .*Received: optimizer=AdamW"):
        model.fit(images, images, verbose=0, callbacks=[GradualUnfreezing(1, 3)])
