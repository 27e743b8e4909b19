import math

import keras
from keras import ops

from keras_recon.ops.patches import unpatchify

NORMALIZATIONS = ("batch", "layer", "group", "none")
UPSAMPLINGS = ("pixel_shuffle", "resize", "transposed")
# A noise shape that says nothing, for the reason given in `transformer`.
EACH_VALUE = (None, None, None, None)


def conv(filters: int, kernel_size: int = 3, **kwargs) -> keras.layers.Conv2D:
    """A "same" convolution on (batch, height, width, channels), whatever Keras is configured to."""
    defaults = {"kernel_initializer": "he_normal", "padding": "same", "data_format": "channels_last"}
    return keras.layers.Conv2D(filters, kernel_size, **{**defaults, **kwargs})


def normalization(kind: str, filters: int, **kwargs) -> keras.layers.Layer:
    """The layer that `NORMALIZATIONS` names, for (batch, height, width, filters)."""
    if kind == "batch":
        # Keras's momentum, 0.99, would trail hundreds of steps behind the weights that inference uses.
        return keras.layers.BatchNormalization(momentum=0.9, **kwargs)
    if kind == "layer":
        return keras.layers.LayerNormalization(epsilon=1e-6, **kwargs)
    if kind == "group":
        return keras.layers.GroupNormalization(math.gcd(8, filters), **kwargs)
    return keras.layers.Identity(**kwargs)


def check_choice(name: str, value: str, choices: tuple[str, ...]):
    """Refuse a `value` that is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


@keras.saving.register_keras_serializable("keras_recon")
class ResidualBlock(keras.layers.Layer):
    """`x + conv(dropout(relu(norm(conv(relu(norm(x)))))))`, (batch, height, width, filters), 3x3 convolutions.

    The pre-activation block of "Identity Mappings in Deep Residual Networks" (He et al., 2016), with the dropout of
    "Wide Residual Networks" (Zagoruyko and Komodakis, 2016). Without a normalisation the second kernel starts at zero,
    and the block as the identity, as in "Fixup Initialization" (Zhang et al., 2019).

    Args:
        normalization: `"batch"`, `"layer"`, `"group"` or `"none"`.
        dropout_rate: dropout between the convolutions, in [0, 1).

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
        # Only batch normalization takes `training`; Keras hands it on.
        x = self.convs[0](ops.relu(self.norms[0](inputs)))
        x = self.dropout(ops.relu(self.norms[1](x)), training=training)
        return inputs + self.convs[1](x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization, "dropout_rate": self.dropout_rate}


@keras.saving.register_keras_serializable("keras_recon")
class ICNR(keras.initializers.Initializer):
    """Kernel of a convolution in front of a 2x2 pixel shuffle that starts as nearest-neighbour upsampling.

    The four pixels that come of one start equal, so that no checkerboard is there to be unlearned: "Checkerboard
    artifact free sub-pixel convolution" (Aitken et al., 2017).

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
    """Double height and width: (batch, height, width, channels) to (batch, 2 * height, 2 * width, filters).

    Args:
        filters: channels of the output.
        method: `"pixel_shuffle"` (a convolution to four times the channels, see `ICNR`), `"resize"` (nearest
            neighbour, then a convolution) or `"transposed"` (a 4x4 transposed convolution, whose kernel the stride
            divides).
        zero_init: whether the kernel starts at zero.

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
