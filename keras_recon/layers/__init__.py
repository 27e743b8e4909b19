from keras_recon.layers.linear_autoencoder import LinearAutoencoder
from keras_recon.layers.patches import patchify, unpatchify
from keras_recon.layers.positions import LocalAttention, PositionEmbedding
from keras_recon.layers.transformer import MultiHeadSelfAttention, Transformer, TransformerBlock

__all__ = [
    "LinearAutoencoder",
    "LocalAttention",
    "MultiHeadSelfAttention",
    "PositionEmbedding",
    "Transformer",
    "TransformerBlock",
    "patchify",
    "unpatchify",
]
