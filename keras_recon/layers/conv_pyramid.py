import keras
from keras import ops

from keras_recon.layers.conv import NORMALIZATIONS, ResidualBlock, Upsample, check_choice, conv, normalization


class _Pyramid(keras.layers.Layer):
    """What encoder and decoder share: `filters`, from fine to coarse, with `num_blocks` residual blocks each."""

    def __init__(
        self, filters: tuple[int, ...], num_blocks: int, normalization: str = "batch", dropout_rate=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        check_choice("normalization", normalization, NORMALIZATIONS)
        if not filters or min(filters) < 1 or num_blocks < 1:
            raise ValueError(
                "`filters` must hold a positive number per level, and `num_blocks` be at least 1. "
                f"Received: filters={filters}, num_blocks={num_blocks}"
            )
        self.filters = tuple(filters)
        self.num_blocks = num_blocks
        self.normalization = normalization
        self.dropout_rate = dropout_rate

    def _level(self, index: int, *first: keras.layers.Layer) -> keras.Sequential:
        blocks = [
            ResidualBlock(self.normalization, self.dropout_rate, dtype=self.dtype_policy, name=f"block_{i}")
            for i in range(self.num_blocks)
        ]
        return keras.Sequential([*first, *blocks], name=f"level_{index}")

    def _norm(self, filters: int) -> keras.layers.Layer:
        return normalization(self.normalization, filters, dtype=self.dtype_policy, name="norm")

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_blocks": self.num_blocks,
            "normalization": self.normalization,
            "dropout_rate": self.dropout_rate,
        }


@keras.saving.register_keras_serializable("keras_recon")
class ConvEncoder(_Pyramid):
    """Halves height and width at each level: a convolution of stride 2, then residual blocks.

    Maps (batch, height, width, channels) to the outputs of all levels, from fine to coarse: level i has
    (batch, height / 2^(i + 1), width / 2^(i + 1), filters[i]). The last is normalised and rectified.

    Args:
        filters: channels of each level, from fine to coarse.
        num_blocks: residual blocks per level.
        normalization, dropout_rate: see `ResidualBlock`.

    Example:

    >>> encoder = keras_recon.layers.ConvEncoder(filters=(8, 16, 32), num_blocks=1)
    >>> [features.shape for features in encoder(keras.ops.ones((2, 64, 48, 3)))]
    [(2, 32, 24, 8), (2, 16, 12, 16), (2, 8, 6, 32)]
    """

    def build(self, input_shape):
        self.levels = []
        for i, width in enumerate(self.filters):
            level = self._level(i, conv(width, strides=2, dtype=self.dtype_policy, name="down"))
            level.build(input_shape)
            input_shape = level.compute_output_shape(input_shape)
            self.levels.append(level)
        self.norm = self._norm(self.filters[-1])
        self.norm.build(input_shape)

    def call(self, inputs, training=None):
        features = []
        for level in self.levels:
            inputs = level(inputs, training=training)
            features.append(inputs)
        features[-1] = ops.relu(self.norm(features[-1]))
        return features

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        scales = [2**i for i in range(1, 1 + len(self.filters))]
        return [(batch, *(s and -(-s // scale) for s in sides), f) for scale, f in zip(scales, self.filters)]


@keras.saving.register_keras_serializable("keras_recon")
class ConvDecoder(_Pyramid):
    """Doubles height and width at each level: residual blocks, then upsampling.

    Maps (batch, rows, columns, values) to (batch, rows * 2^levels, columns * 2^levels, channels). Given the list that
    a `ConvEncoder` of the same `filters` returns, it adds each level's features to its own of that size: the skips of
    "U-Net" (Ronneberger et al., 2015), added as in "LinkNet" (Chaurasia and Culurciello, 2017).

    Args:
        channels: of the output.
        filters: channels of each level, from fine to coarse.
        num_blocks: residual blocks per level.
        normalization, dropout_rate: see `ResidualBlock`.
        upsampling: see `Upsample`.
        zero_init: whether the last kernel starts at zero, and the output with it.
        divided: whether the output is divided as in `LinearDecoder`; None for as `zero_init`. Where
            there is no good start to lose, it slows the training down.

    Example:

    >>> encoder = keras_recon.layers.ConvEncoder(filters=(8, 16), num_blocks=1)
    >>> decoder = keras_recon.layers.ConvDecoder(channels=3, filters=(8, 16), num_blocks=1)
    >>> levels = encoder(keras.ops.ones((2, 32, 48, 3)))
    >>> decoder(levels[-1], levels).shape  # a U-Net; without the second argument an autoencoder
    (2, 32, 48, 3)
    """

    def __init__(
        self,
        channels: int,
        filters,
        num_blocks,
        upsampling: str = "pixel_shuffle",
        zero_init: bool = False,
        divided: bool | None = None,
        **kwargs,
    ):
        super().__init__(filters, num_blocks, **kwargs)
        self.divided = zero_init if divided is None else divided
        self.channels = channels
        self.upsampling = upsampling
        self.zero_init = zero_init
        self.embedding = conv(self.filters[-1], dtype=self.dtype_policy, name="embedding")
        self.upsamples = [
            Upsample(width, upsampling, zero_init and i == 0, dtype=self.dtype_policy, name=f"upsample_{i}")
            for i, width in enumerate((channels, *self.filters[:-1]))
        ]

    def build(self, inputs_shape, skips_shape=None):
        self.embedding.build(inputs_shape)
        batch, rows, columns, _ = inputs_shape
        self.levels = []
        for i, width in enumerate(self.filters):
            scale = 2 ** (len(self.filters) - 1 - i)
            shape = (batch, rows and rows * scale, columns and columns * scale, width)
            self.levels.append(self._level(i))
            self.levels[i].build(shape)
            self.upsamples[i].build(shape)
        self.norm = self._norm(self.filters[0])
        self.norm.build((batch, None, None, self.filters[0]))

    def call(self, inputs, skips=None, training=None):
        x = self.embedding(inputs)
        for i in reversed(range(len(self.filters))):
            if skips is not None:
                x = x + skips[i]
            x = self.levels[i](x, training=training)
            x = self.upsamples[i](x if i else ops.relu(self.norm(x)))
        return x / (9 * self.filters[0]) if self.divided else x  # 3x3 inputs times the filters

    def compute_output_shape(self, inputs_shape, skips_shape=None):
        batch, *sides, _ = inputs_shape
        return (batch, *(s and s * 2 ** len(self.filters) for s in sides), self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "upsampling": self.upsampling,
            "zero_init": self.zero_init,
            "divided": self.divided,
        }
