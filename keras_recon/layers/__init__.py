from keras_recon.layers.conv import ICNR, ResidualBlock, Upsample
from keras_recon.layers.conv_pyramid import ConvDecoder, ConvEncoder
from keras_recon.layers.decoders import LinearDecoder, TransformerDecoder
from keras_recon.layers.linear_autoencoder import LinearAutoencoder
from keras_recon.layers.masking import (
    MaskToken,
    count_visible,
    fixed_patch_mask,
    paste_visible,
    random_patch_mask,
    take_tokens,
    visible_indices,
)
from keras_recon.layers.patch_statistics import denormalize_patches, normalize_patches
from keras_recon.layers.patches import patchify, unpatchify
from keras_recon.layers.positions import LocalAttention, PositionEmbedding
from keras_recon.layers.transformer import MultiHeadSelfAttention, Transformer, TransformerBlock

__all__ = [
    "ICNR",
    "ConvDecoder",
    "ConvEncoder",
    "LinearAutoencoder",
    "LinearDecoder",
    "LocalAttention",
    "MaskToken",
    "MultiHeadSelfAttention",
    "PositionEmbedding",
    "ResidualBlock",
    "Transformer",
    "TransformerBlock",
    "TransformerDecoder",
    "Upsample",
    "count_visible",
    "denormalize_patches",
    "fixed_patch_mask",
    "normalize_patches",
    "paste_visible",
    "patchify",
    "random_patch_mask",
    "take_tokens",
    "unpatchify",
    "visible_indices",
]
