"""The smallest codecs, with weights as training leaves them: none is zero."""

import keras
import numpy as np
from contracts import random_images
from keras import ops

from keras_recon.compression import EntropyModel, ImageCodec, files

TINY = {"filters": (4, 4, 8), "num_blocks": (1, 1), "slices": (3, 5), "hyper_dim": 2, "hyper_filters": 4, "seed": 0}


def tiny_codec(**changes) -> ImageCodec:
    """Adapted, and with small numbers in place of zeros."""
    codec = ImageCodec(**{**TINY, **changes})
    codec.adapt(random_images(16, 64, 64, 3))
    fill(codec, 0.01)
    return codec


def tiny_entropy_model(slices=(3, 5)) -> EntropyModel:
    """Of two knots; its heads tell latents of different means and scales."""
    layer = EntropyModel(slices, hyper_dim=2, filters=4, seed=0)
    layer.build((None, None, None, sum(slices)), (None, 2))
    fill(layer, 0.1)
    return layer


def fill(layer: keras.layers.Layer, size: float, seed: int = 0):
    """Random numbers in the trainable weights that begin at zero, as most heads do."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        noise = size * rng.standard_normal(weight.shape)
        if not ops.convert_to_numpy(weight).any():
            weight.assign(noise)


def random_latents(*shape, seed: int = 0) -> np.ndarray:
    """Of scales that differ between channels, as those of photos do."""
    rng = np.random.default_rng(seed)
    return (rng.laplace(size=shape) * np.geomspace(20, 0.2, shape[-1])).astype("float32")


def photo(height: int, width: int, channels: int = 3, seed: int = 1) -> np.ndarray:
    """A smooth random image, uint8 (height, width, channels)."""
    return np.rint(255 * random_images(1, height, width, channels, seed=seed)[0]).astype("uint8")


def levels_apart(a, b):
    return np.abs(a.astype("float64") - b)


def repaired(data: bytes) -> bytes:
    """With the checksum that damaged bytes must have to be looked at."""
    header, rest = data[: files.HEADER.size], data[files.HEADER.size + 4 :]
    return header + files.CHECKSUM.pack(files.zlib.crc32(header + rest)) + rest
