"""Convolutional layers: residual blocks, encoder and decoder."""

import math

import keras
from keras import ops

from keras_recon.ops import unpatchify

NORMALIZATIONS = ("batch", "layer", "group", "none")
UPSAMPLINGS = ("pixel_shuffle", "resize", "transposed")
# The default noise shape, written out for the reason given in `transformer`.
EACH_VALUE = (None, None, None, None)


def conv(filters: int, kernel_size: int = 3, **kwargs) -> keras.layers.Conv2D:
    """Make a "same" convolution on (batch, height, width, channels), also if Keras is set to channels first."""
    defaults = {"kernel_initializer": "he_normal", "padding": "same", "data_format": "channels_last"}
    return keras.layers.Conv2D(filters, kernel_size, **{**defaults, **kwargs})


def normalization(kind: str, filters: int, **kwargs) -> keras.layers.Layer:
    """Make the normalisation layer of a name in `NORMALIZATIONS`, for (batch, height, width, filters)."""
    if kind == "batch":
        # With Keras's momentum of 0.99, the statistics would lag hundreds of steps behind the weights.
        return keras.layers.BatchNormalization(momentum=0.9, **kwargs)
    if kind == "layer":
        return keras.layers.LayerNormalization(epsilon=1e-6, **kwargs)
    if kind == "group":
        return keras.layers.GroupNormalization(math.gcd(8, filters), **kwargs)
    return keras.layers.Identity(**kwargs)


def check_choice(name: str, value: str, choices: tuple[str, ...]):
    """Raise a ValueError for a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


@keras.saving.register_keras_serializable("keras_recon")
class ResidualBlock(keras.layers.Layer):
    """`x + conv(dropout(relu(norm(conv(relu(norm(x)))))))`, (batch, height, width, filters), 3x3 convolutions.

    The pre-activation block of "Identity Mappings in Deep Residual Networks" (He et al., 2016), with the dropout of
    "Wide Residual Networks" (Zagoruyko and Komodakis, 2016). Without a normalisation the second kernel is zero at
    first, so that the block starts as the identity, as in "Fixup Initialization" (Zhang et al., 2019).

    Args:
        normalization: `"batch"`, `"layer"`, `"group"` or `"none"`.
        dropout_rate: dropout between the convolutions, in [0, 1).
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> features = keras.ops.ones((2, 8, 8, 16))
    >>> keras_recon.layers.ResidualBlock(normalization="group")(features).shape
    (2, 8, 8, 16)
    """

    def __init__(self, normalization: str = "batch", dropout_rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        check_choice("normalization", normalization, NORMALIZATIONS)
        self.normalization = normalization
        self.dropout_rate = dropout_rate
        self.dropout = keras.layers.Dropout(dropout_rate, EACH_VALUE, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        filters, dtype = input_shape[-1], self.dtype_policy
        self.norms = [normalization(self.normalization, filters, dtype=dtype, name=f"norm_{i}") for i in (0, 1)]
        last = {"kernel_initializer": "zeros"} if self.normalization == "none" else {}
        self.convs = [conv(filters, dtype=dtype, name=f"conv_{i}", **kwargs) for i, kwargs in enumerate(({}, last))]
        for layer in (*self.norms, *self.convs):
            layer.build(input_shape)

    def call(self, inputs, training=None):
        # Only batch normalisation takes `training`, and Keras passes it on.
        x = self.convs[0](ops.relu(self.norms[0](inputs)))
        x = self.dropout(ops.relu(self.norms[1](x)), training=training)
        return inputs + self.convs[1](x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization, "dropout_rate": self.dropout_rate}


@keras.saving.register_keras_serializable("keras_recon")
class ICNR(keras.initializers.Initializer):
    """Initialises the convolution before a 2x2 pixel shuffle, so that both start as nearest-neighbour upsampling.

    The four pixels that the shuffle makes of one position start equal, which avoids checkerboard artifacts:
    "Checkerboard artifact free sub-pixel convolution" (Aitken et al., 2017).

    Args:
        seed: seed of the values.

    Example:
    >>> kernel = keras_recon.layers.ICNR(seed=0)((3, 3, 16, 4 * 8))  # for a shuffle of 32 channels to 8
    >>> pixels = keras.ops.convert_to_numpy(kernel).reshape(3, 3, 16, 4, 8)
    >>> bool((pixels == pixels[:, :, :, :1]).all())
    True
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        kernel = keras.initializers.HeNormal(self.seed)((*shape[:-1], shape[-1] // 4), dtype)
        return ops.concatenate([kernel] * 4, axis=-1)

    def get_config(self):
        return {"seed": self.seed}


@keras.saving.register_keras_serializable("keras_recon")
class Upsample(keras.layers.Layer):
    """Doubles height and width: (batch, height, width, channels) to (batch, 2 * height, 2 * width, filters).

    Args:
        filters: channels of the output.
        method: `"pixel_shuffle"` (a convolution to four times the channels, see `ICNR`), `"resize"` (nearest
            neighbour, then a convolution) or `"transposed"` (a transposed convolution with a 4x4 kernel, a multiple of
            its stride).
        zero_init: whether the kernel is zero at first.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> features = keras.ops.ones((2, 8, 8, 16))
    >>> keras_recon.layers.Upsample(filters=4, method="resize")(features).shape
    (2, 16, 16, 4)
    """

    def __init__(self, filters: int, method: str = "pixel_shuffle", zero_init: bool = False, **kwargs):
        super().__init__(**kwargs)
        check_choice("upsampling", method, UPSAMPLINGS)
        self.filters = filters
        self.method = method
        self.zero_init = zero_init
        kwargs = {"kernel_initializer": "zeros"} if zero_init else {}
        kwargs |= {"dtype": self.dtype_policy, "name": "conv"}
        if method == "pixel_shuffle":
            self.conv = conv(4 * filters, **{"kernel_initializer": ICNR(), **kwargs})
        elif method == "resize":
            self.conv = conv(filters, **kwargs)
        else:
            kwargs = {"kernel_initializer": "he_normal", **kwargs}
            self.conv = keras.layers.Conv2DTranspose(filters, 4, 2, "same", data_format="channels_last", **kwargs)

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, inputs):
        if self.method == "resize":
            return self.conv(ops.repeat(ops.repeat(inputs, 2, axis=1), 2, axis=2))
        x = self.conv(inputs)
        return unpatchify(x, 2) if self.method == "pixel_shuffle" else x

    def compute_output_shape(self, input_shape):
        batch, rows, columns, _ = input_shape
        return (batch, rows and 2 * rows, columns and 2 * columns, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "method": self.method, "zero_init": self.zero_init}


class _Pyramid(keras.layers.Layer):
    """Base of `ConvEncoder` and `ConvDecoder`: levels of `num_blocks` residual blocks, from fine to coarse."""

    def __init__(
        self, filters: tuple[int, ...], num_blocks: int, normalization: str = "batch", dropout_rate=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        check_choice("normalization", normalization, NORMALIZATIONS)
        if not filters or min(filters) < 1 or num_blocks < 1:
            raise ValueError(
                "`filters` must have a positive number per level, and `num_blocks` must be at least 1. "
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
    (batch, height / 2^(i + 1), width / 2^(i + 1), filters[i]). A normalisation and a ReLU follow the last level.

    Args:
        filters: channels of each level, from fine to coarse.
        num_blocks: residual blocks per level.
        normalization: see `ResidualBlock`.
        dropout_rate: see `ResidualBlock`.
        **kwargs: see `keras.layers.Layer`.

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

    Maps (batch, rows, columns, values) to (batch, rows * 2^levels, columns * 2^levels, channels). Given the output of
    a `ConvEncoder` with the same `filters`, it adds the features of each level to its own of that size: the skip
    connections of "U-Net" (Ronneberger et al., 2015), added as in "LinkNet" (Chaurasia and Culurciello, 2017).

    Args:
        channels: channels of the output.
        filters: channels of each level, from fine to coarse.
        num_blocks: residual blocks per level.
        upsampling: see `Upsample`.
        zero_init: whether the last kernel is zero at first, and with it the output.
        divided: whether the output is divided as in `LinearDecoder`; None for the value of `zero_init`. Training is
            slower with it, so use it only where training starts from a good output.
        **kwargs: `normalization` and `dropout_rate`, see `ResidualBlock`, and those of `keras.layers.Layer`.

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


@keras.saving.register_keras_serializable("keras_recon")
class PatchDiscriminator(keras.layers.Layer):
    """Rates how real each part of an image looks: (batch, height, width, channels) to logits (batch, rows, columns, 1).

    Strided 4x4 convolutions with group normalisation and leaky ReLU, and a last convolution: the PatchGAN of
    "Image-to-image translation with conditional adversarial networks" (Isola et al., 2017), which judges textures and
    not whole images. The logits of an image do not depend on the other images of the batch.

    Args:
        filters: channels per level; each level halves height and width.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> discriminator = keras_recon.layers.PatchDiscriminator(filters=(8, 16))
    >>> discriminator(np.random.rand(2, 32, 48, 3).astype("float32")).shape
    (2, 8, 12, 1)
    """

    def __init__(self, filters: tuple[int, ...] = (64, 128, 256), **kwargs):
        super().__init__(**kwargs)
        if not filters or min(filters) < 1:
            raise ValueError(f"`filters` must be positive numbers, at least one. Received: filters={filters}")
        self.filters = tuple(filters)
        policy = self.dtype_policy
        self.convolutions = [
            conv(width, 4, strides=2, dtype=policy, name=f"conv_{i}") for i, width in enumerate(self.filters)
        ]
        self.normalizations = [
            normalization(
                "group" if i else "none", width, dtype=policy, name=f"norm_{i}"
            )  # none at the first level, where it would remove colours
            for i, width in enumerate(self.filters)
        ]
        self.head = conv(1, 4, dtype=policy, name="head")

    def build(self, input_shape):
        shape = (None, None, None, input_shape[-1])
        for convolution, norm, width in zip(self.convolutions, self.normalizations, self.filters):
            convolution.build(shape)
            shape = (*shape[:3], width)
            norm.build(shape)
        self.head.build(shape)

    def call(self, images):
        x = 4.0 * images - 2.0
        for convolution, norm in zip(self.convolutions, self.normalizations):
            x = ops.leaky_relu(norm(convolution(x)), 0.2)
        return self.head(x)

    def compute_output_shape(self, input_shape):
        step = 2 ** len(self.filters)
        return (input_shape[0], *[side and -(-side // step) for side in input_shape[1:3]], 1)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
