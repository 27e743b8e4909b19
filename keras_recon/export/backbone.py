"""The encoder of a `ViTReconstructor` as a keras-hub backbone, for `PretrainedViTReconstructor.from_preset`."""

from pathlib import Path

import keras
import numpy as np

from keras_recon.layers import TransformerBlock
from keras_recon.models.vit import ViTReconstructor
from keras_recon.utils.files import replacing

# ViTReconstructor normalises pixels in [0, 1] to 4 * x - 2 = (x - mean) / std, which is not part of the backbone.
MEAN, STD = 0.5, 0.25


def to_backbone(model: ViTReconstructor) -> keras.Model:
    """Make a keras-hub backbone with the weights of `model.encoder`.

    Args:
        model: A trained model. Dropout and stochastic depth are not copied.

    Returns:
        A `keras_hub.models.ViTBackbone` without a class token, for images normalised by `MEAN` and `STD`.
    """
    import keras_hub  # takes seconds to import

    backbone = keras_hub.models.ViTBackbone(
        image_shape=model.image_shape,
        patch_size=model.patch_size,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        hidden_dim=model.hidden_dim,
        mlp_dim=model.mlp_dim,
        use_class_token=False,
        dtype=model.dtype_policy,
    )
    _, stem, encoder = backbone.layers
    source = model.encoder
    _copy(source.embedding.get_weights(), stem.patch_embedding)
    positions = keras.ops.convert_to_numpy(source.positions.embeddings)  # a weight, or a table
    _copy([positions], stem.position_embedding)
    for block, target in zip(source.blocks, encoder.encoder_layers):
        _copy_block(block, target)
    _copy(source.norm.get_weights(), encoder.layer_norm)
    return backbone


def _copy_block(block: TransformerBlock, target: keras.layers.Layer):
    mha = target.mha
    kernel, bias = block.attention.qkv.get_weights()  # (hidden_dim, 3 * hidden_dim), (3 * hidden_dim,)
    parts = zip(np.split(kernel, 3, axis=1), np.split(bias, 3))
    for weights, layer in zip(parts, (mha.query_dense, mha.key_dense, mha.value_dense)):
        _copy(weights, layer)
    _copy(block.attention.projection.get_weights(), mha.output_dense)
    _copy(block.attention_norm.get_weights(), target.layer_norm_1)
    _copy(block.mlp_norm.get_weights(), target.layer_norm_2)
    _copy(block.mlp_in.get_weights(), target.mlp.dense_1)
    _copy(block.mlp_out.get_weights(), target.mlp.dense_2)


def _copy(weights, target: keras.layers.Layer):
    target.set_weights([weight.reshape(old.shape) for weight, old in zip(weights, target.weights)])


def save_backbone(model: ViTReconstructor, folder: str | Path):
    """Write `to_backbone(model)` and its normalisation as a keras-hub preset, atomically.

    Args:
        model: A trained model.
        folder: Folder to write.
    """
    import keras_hub

    converter = keras_hub.layers.ViTImageConverter(scale=1 / (255 * STD), offset=-MEAN / STD)  # of 8-bit pixels
    with replacing(folder) as temporary:
        to_backbone(model).save_to_preset(str(temporary))
        converter.save_to_preset(str(temporary))
