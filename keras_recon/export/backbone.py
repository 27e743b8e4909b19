"""The encoder of a `ViTReconstructor` as a keras-hub backbone, for `PretrainedViTReconstructor.from_preset`."""

from pathlib import Path

import keras
import numpy as np

from keras_recon.layers import TransformerBlock
from keras_recon.models.vit import ViTReconstructor
from keras_recon.utils.files import replacing

# What ViTReconstructor does to pixels in [0, 1], 4 * x - 2, as (x - mean) / std; `to_backbone` leaves it outside.
MEAN, STD = 0.5, 0.25


def to_backbone(model: ViTReconstructor) -> keras.Model:
    """A `keras_hub.models.ViTBackbone` without a class token whose blocks compute what those of `model.encoder` do.

    Its inputs are images normalised by `MEAN` and `STD`. Dropout and stochastic depth stay behind.
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
    kernel, bias = source.embedding.get_weights()
    stem.patch_embedding.set_weights([kernel.reshape(stem.patch_embedding.kernel.shape), bias])
    positions = keras.ops.convert_to_numpy(source.positions.embeddings)  # a weight, or a table
    stem.position_embedding.set_weights([positions.reshape(-1, model.hidden_dim)])
    for block, target in zip(source.blocks, encoder.encoder_layers):
        _copy_block(block, target)
    encoder.layer_norm.set_weights(source.norm.get_weights())
    return backbone


def _copy_block(block: TransformerBlock, target: keras.layers.Layer):
    mha = target.mha
    kernel, bias = block.attention.qkv.get_weights()  # (hidden_dim, 3 * hidden_dim), (3 * hidden_dim,)
    parts = zip(np.split(kernel, 3, axis=1), np.split(bias, 3))
    for layer, (kernel, bias) in zip((mha.query_dense, mha.key_dense, mha.value_dense), parts):
        layer.set_weights([kernel.reshape(layer.kernel.shape), bias.reshape(layer.bias.shape)])
    kernel, bias = block.attention.projection.get_weights()
    mha.output_dense.set_weights([kernel.reshape(mha.output_dense.kernel.shape), bias])
    target.layer_norm_1.set_weights(block.attention_norm.get_weights())
    target.layer_norm_2.set_weights(block.mlp_norm.get_weights())
    target.mlp.dense_1.set_weights(block.mlp_in.get_weights())
    target.mlp.dense_2.set_weights(block.mlp_out.get_weights())


def save_backbone(model: ViTReconstructor, folder: str | Path):
    """Write `to_backbone(model)` and the normalisation of its inputs as a keras-hub preset, atomically."""
    import keras_hub

    converter = keras_hub.layers.ViTImageConverter(scale=1 / (255 * STD), offset=-MEAN / STD)  # of 8-bit pixels
    with replacing(folder) as temporary:
        to_backbone(model).save_to_preset(str(temporary))
        converter.save_to_preset(str(temporary))
