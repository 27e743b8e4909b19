"""A learned image codec and its compressed files."""

from keras_recon.compression.codec import ImageCodec
from keras_recon.compression.entropy import EntropyModel
from keras_recon.compression.files import compress, decompress

__all__ = ["EntropyModel", "ImageCodec", "compress", "decompress"]
