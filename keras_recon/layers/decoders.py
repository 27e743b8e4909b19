"""Decoders of latents to patches, and decoders by name."""

import keras

from keras_recon.layers.conv import ConvDecoder
from keras_recon.layers.transformer import Transformer
from keras_recon.ops import unpatchify


@keras.saving.register_keras_serializable("keras_recon")
class LinearDecoder(keras.layers.Layer):
    """Maps each vector of a grid to the pixels of its patch, by one linear map.

    Maps (batch, rows, columns, values) to (batch, rows * patch_size, columns * patch_size, channels).

    Args:
        patch_size: side of the patches in pixels.
        channels: channels of the images.
        zero_init: whether the kernel is zero at first, and with it the output. The output is then divided by the number
            of inputs, so that a step of the optimizer changes it by about the learning rate ("Tensor Programs V", Yang
            et al., 2022). Undivided, the first steps would be larger than the errors of the linear path.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> decoder = keras_recon.layers.LinearDecoder(patch_size=8, channels=3)
    >>> decoder(keras.ops.ones((2, 4, 6, 12))).shape
    (2, 32, 48, 3)
    """

    decodes_patches = True

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
    """Applies a transformer to a grid of latents, then a `LinearDecoder`.

    Maps (batch, rows, columns, values) to (batch, rows * patch_size, columns * patch_size, channels), as the decoder of
    "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022).

    Args:
        patch_size: see `LinearDecoder`.
        channels: see `LinearDecoder`.
        zero_init: see `LinearDecoder`.
        **kwargs: see `Transformer`.

    Example:
    >>> sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    >>> decoder = keras_recon.layers.TransformerDecoder(patch_size=8, channels=3, **sizes)
    >>> decoder(keras.ops.ones((2, 4, 6, 12))).shape
    (2, 32, 48, 3)
    """

    decodes_patches = True

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


DECODERS = ("linear", "transformer", "conv")


def make_decoder(
    model: keras.Model,
    decoder: str | keras.layers.Layer,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    mlp_dim: int,
    **transformer,
) -> keras.layers.Layer:
    """Make the decoder of a `ViTReconstructor` or `PretrainedViTReconstructor`.

    Args:
        model: the reconstructor.
        decoder: `"linear"`, `"transformer"`, `"conv"` or a layer.
        num_layers: transformer blocks, or residual blocks per level of a convolutional decoder.
        num_heads: attention heads of a transformer.
        hidden_dim: width of a transformer, or channels of the coarsest level of a convolutional decoder.
        mlp_dim: MLP width of a transformer.
        **transformer: other arguments of `TransformerDecoder`.
    """
    shared = {"zero_init": bool(model.linear_path), "dtype": model.dtype_policy, "name": "decoder"}
    channels = model.image_shape[-1]
    if isinstance(decoder, keras.layers.Layer):
        return _checked(decoder, model.latent_shape, model.image_shape)
    if decoder == "linear":
        return LinearDecoder(model.patch_size, channels, **shared)
    if decoder == "transformer":
        sizes = {"num_layers": num_layers, "num_heads": num_heads, "hidden_dim": hidden_dim, "mlp_dim": mlp_dim}
        return TransformerDecoder(model.patch_size, channels, **sizes, **transformer, **shared)
    levels = model.patch_size.bit_length() - 1
    if decoder != "conv" or model.patch_size != 2**levels:
        raise ValueError(
            f"`decoder` must be a Keras layer or one of {DECODERS}, and 'conv' needs a patch size that is a power of "
            f"two. Received: decoder={decoder!r}, with patches of {model.patch_size} pixels"
        )
    filters = tuple(hidden_dim // 2**i for i in reversed(range(levels)))
    # Group normalisation, because nothing else in these models depends on the batch.
    return ConvDecoder(channels, filters, num_layers, normalization="group", **shared)


def with_decoder(config: dict) -> dict:
    """Return a model's config in which a serialised decoder is a layer again."""
    if isinstance(config.get("decoder"), dict):
        config = {**config, "decoder": keras.saving.deserialize_keras_object(config["decoder"])}
    return config


def _checked(decoder: keras.layers.Layer, latent_shape: tuple, image_shape: tuple) -> keras.layers.Layer:
    """Build a user's decoder. Raise a ValueError if files cannot hold it or its output is not an image."""
    kind = type(decoder)
    known = kind.__module__.startswith("keras.") or keras.saving.get_registered_object(
        keras.saving.get_registered_name(kind)
    )
    if not known or isinstance(decoder, keras.layers.Lambda):
        raise ValueError(
            "`decoder` must be a Keras layer other than Lambda, or of a class registered with "
            f"keras.saving.register_keras_serializable. Received: decoder of type {kind.__name__}"
        )
    if not decoder.built:
        decoder.build((None, *latent_shape))
    shape = tuple(decoder.compute_output_shape((None, *latent_shape)))
    if shape[1:] != tuple(image_shape):
        raise ValueError(f"`decoder` must make images {tuple(image_shape)}. Received: a decoder that makes {shape[1:]}")
    return decoder
