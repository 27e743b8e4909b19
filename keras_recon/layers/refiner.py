"""The network that refines reconstructed pixels."""

import keras
from keras import ops

from keras_recon.layers.conv import ResidualBlock, conv


@keras.saving.register_keras_serializable("keras_recon")
class PixelRefiner(keras.layers.Layer):
    """Computes a correction of an image, for blurred edges, ringing and visible borders of patches.

    It has residual blocks without normalisation at half the image's height and width (space to depth and back), as
    restoration networks do ("Enhanced Deep Residual Networks for Single Image Super-Resolution", Lim et al., 2017). The
    output has the shape of the input, (batch, height, width, channels). The last kernel is zero at first, and with it
    the output, which is divided as in `LinearDecoder`.

    Args:
        filters: channels of the blocks.
        num_blocks: number of residual blocks.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> refiner = keras_recon.layers.PixelRefiner(filters=32)
    >>> float(keras.ops.convert_to_numpy(refiner(keras.ops.ones((2, 32, 48, 3)))).max())  # from here it learns
    0.0
    """

    def __init__(self, filters: int, num_blocks: int = 2, **kwargs):
        super().__init__(**kwargs)
        if filters < 1 or num_blocks < 1:
            raise ValueError(
                f"`filters` and `num_blocks` must be at least 1. Received: filters={filters}, num_blocks={num_blocks}"
            )
        self.filters = filters
        self.num_blocks = num_blocks
        self.embedding = conv(filters, dtype=self.dtype_policy, name="embedding")
        self.blocks = [ResidualBlock("none", dtype=self.dtype_policy, name=f"block_{i}") for i in range(num_blocks)]

    def build(self, input_shape):
        batch, height, width, channels = input_shape
        self.scale = 1 if any(side is not None and side % 2 for side in (height, width)) else 2
        inputs = (batch, *[side and side // self.scale for side in (height, width)], self.scale**2 * channels)
        self.embedding.build(inputs)
        for block in self.blocks:
            block.build((*inputs[:-1], self.filters))
        self.head = conv(inputs[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="head")
        self.head.build((*inputs[:-1], self.filters))

    def call(self, inputs, training=None):
        x = inputs if self.scale == 1 else ops.space_to_depth(inputs, self.scale)
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x, training=training)
        x = self.head(ops.relu(x)) / (9 * self.filters)  # 3x3 inputs times the filters
        return x if self.scale == 1 else ops.depth_to_space(x, self.scale)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "num_blocks": self.num_blocks}
