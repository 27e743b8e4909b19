import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops
from models.test_vit import TINY

from keras_recon.export.backbone import save_backbone, to_backbone
from keras_recon.models import PretrainedViTReconstructor, ViTReconstructor
from keras_recon.ops import patchify


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"mask_ratio": 0.75}, {"image_shape": (12, 20, 1), "position_embedding": "sincos", "dropout_rate": 0.3}],
)
def test_every_block_of_the_loaded_preset_gives_what_the_encoder_gave(changes, tmp_path):
    model = ViTReconstructor(**{**TINY, **changes})
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in model.get_weights()])
    save_backbone(model, tmp_path / "backbone")
    assert [path.name for path in tmp_path.iterdir()] == ["backbone"]
    loaded = PretrainedViTReconstructor.from_preset(
        str(tmp_path / "backbone"), feature_layers=(0, 1, 2), latent_dim=4, decoder="linear"
    )
    images = random_images(3, *model.image_shape)
    encoder = model.encoder
    patches = patchify(ops.convert_to_tensor(images), 4)
    tokens = encoder.positions(encoder.embedding(4.0 * patches - 2.0))
    rows, columns, _ = model.latent_shape
    tokens = ops.reshape(tokens, (-1, rows * columns, 16))
    outputs = [tokens]
    for block in encoder.blocks:
        outputs.append(block(outputs[-1]))
    # A fresh `PretrainedViTReconstructor` reads each depth through a norm with gamma 1 and beta 0.
    expected = np.concatenate([layer_norm(ops.convert_to_numpy(x)) for x in outputs], axis=-1)
    features = ops.convert_to_numpy(loaded.features(images)).reshape(expected.shape)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    whole = ops.convert_to_numpy(loaded.backbone(4.0 * images - 2.0)).reshape(3, rows, columns, 16)
    np.testing.assert_allclose(whole, ops.convert_to_numpy(model.encoder_features(images, patches)), atol=1e-5)


def test_the_backbone_has_the_encoders_parameters_and_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = ViTReconstructor(**TINY)
    backbone = to_backbone(model)
    assert backbone.count_params() == model.encoder.count_params()
    assert backbone.dtype_policy.name == "mixed_bfloat16"
