from keras_recon.layers.conv import ICNR, ResidualBlock, Upsample
from keras_recon.layers.conv_pyramid import ConvDecoder, ConvEncoder
from keras_recon.layers.decoders import LinearDecoder, TransformerDecoder
from keras_recon.layers.discriminator import PatchDiscriminator
from keras_recon.layers.linear_autoencoder import LinearAutoencoder
from keras_recon.layers.mask_token import MaskToken
from keras_recon.layers.pixel_refiner import PixelRefiner
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
    "PatchDiscriminator",
    "PixelRefiner",
    "PositionEmbedding",
    "ResidualBlock",
    "Transformer",
    "TransformerBlock",
    "TransformerDecoder",
    "Upsample",
]
