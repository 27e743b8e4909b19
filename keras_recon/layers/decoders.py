import keras

from keras_recon.layers.transformer import Transformer
from keras_recon.ops.patches import unpatchify


@keras.saving.register_keras_serializable("keras_recon")
class LinearDecoder(keras.layers.Layer):
    """One linear map from each vector of a grid to the pixels of its patch.

    Maps (batch, rows, columns, values) to (batch, rows * patch_size, columns * patch_size, channels).

    Args:
        patch_size: side of the patches in pixels.
        channels: of the images.
        zero_init: whether the kernel starts at zero, and the output with it. The output is then divided by the number
            of inputs, so that a step of the optimizer changes it by about the learning rate ("Tensor Programs V", Yang
            et al., 2022); undivided, the first steps would throw a linear start away.

    Example:

    >>> decoder = keras_recon.layers.LinearDecoder(patch_size=8, channels=3)
    >>> decoder(keras.ops.ones((2, 4, 6, 12))).shape
    (2, 32, 48, 3)
    """

    def __init__(self, patch_size: int, channels: int, zero_init: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.channels = channels
        self.zero_init = zero_init
        self.pixel_head = keras.layers.Dense(
            patch_size**2 * channels,
            kernel_initializer="zeros" if zero_init else "glorot_uniform",
            dtype=self.dtype_policy,
            name="pixel_head",
        )

    def build(self, input_shape):
        self.pixel_head.build(input_shape)

    def call(self, inputs):
        images = unpatchify(self.pixel_head(inputs), self.patch_size)
        return images / inputs.shape[-1] if self.zero_init else images

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return (batch, *(side and side * self.patch_size for side in sides), self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "channels": self.channels,
            "zero_init": self.zero_init,
        }


@keras.saving.register_keras_serializable("keras_recon")
class TransformerDecoder(Transformer):
    """A transformer over the grid of latents, then a `LinearDecoder`.

    Maps (batch, rows, columns, values) to (batch, rows * patch_size, columns * patch_size, channels), as the decoder of
    "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022).

    Args:
        patch_size, channels, zero_init: see `LinearDecoder`.
        **kwargs: see `Transformer`.

    Example:

    >>> sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    >>> decoder = keras_recon.layers.TransformerDecoder(patch_size=8, channels=3, **sizes)
    >>> decoder(keras.ops.ones((2, 4, 6, 12))).shape
    (2, 32, 48, 3)
    """

    def __init__(self, patch_size: int, channels: int, zero_init: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.head = LinearDecoder(patch_size, channels, zero_init, dtype=self.dtype_policy, name="head")

    def build(self, input_shape):
        super().build(input_shape)
        self.head.build((*input_shape[:-1], self.hidden_dim))

    def call(self, inputs, training=None):
        return self.head(super().call(inputs, training=training))

    def compute_output_shape(self, input_shape):
        return self.head.compute_output_shape(input_shape)

    def get_config(self):
        own = {name: getattr(self.head, name) for name in ("patch_size", "channels", "zero_init")}
        return {**super().get_config(), **own}
