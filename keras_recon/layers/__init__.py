"""Layers of the models."""

from keras_recon.layers.conv import ICNR, ConvDecoder, ConvEncoder, PatchDiscriminator, ResidualBlock, Upsample
from keras_recon.layers.decoders import LinearDecoder, TransformerDecoder
from keras_recon.layers.linear_path import LinearAutoencoder
from keras_recon.layers.positions import LocalAttention, PositionEmbedding
from keras_recon.layers.refiner import PixelRefiner
from keras_recon.layers.transformer import MaskToken, MultiHeadSelfAttention, Transformer, TransformerBlock

__all__ = [
    "ICNR",
    "ConvDecoder",
    "ConvEncoder",
    "LinearAutoencoder",
    "LinearDecoder",
    "LocalAttention",
    "MaskToken",
    "MultiHeadSelfAttention",
    "PatchDiscriminator",
    "PixelRefiner",
    "PositionEmbedding",
    "ResidualBlock",
    "Transformer",
    "TransformerBlock",
    "TransformerDecoder",
    "Upsample",
]
