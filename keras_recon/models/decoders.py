import keras

from keras_recon.layers import ConvDecoder, LinearDecoder, TransformerDecoder

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
    """The decoder of a `ViTReconstructor` or `PretrainedViTReconstructor`, whose constructors describe the arguments.

    `transformer` are those of a `keras_recon.layers.TransformerDecoder` alone.
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
    # Groups: a batch's statistics would be the only ones in the model.
    return ConvDecoder(channels, filters, num_layers, normalization="group", **shared)


def with_decoder(config: dict) -> dict:
    """A model's configuration in which a decoder of a user's own is a layer again."""
    if isinstance(config.get("decoder"), dict):
        config = {**config, "decoder": keras.saving.deserialize_keras_object(config["decoder"])}
    return config


def _checked(decoder: keras.layers.Layer, latent_shape: tuple, image_shape: tuple) -> keras.layers.Layer:
    """A user's decoder, built, if files can hold it and it makes images of latents."""
    kind = type(decoder)
    known = kind.__module__.startswith("keras.") or keras.saving.get_registered_object(
        keras.saving.get_registered_name(kind)
    )
    if not known or isinstance(decoder, keras.layers.Lambda):
        raise ValueError(
            "`decoder` must be a Keras layer, no Lambda, or of a class that keras.saving.register_keras_serializable "
            f"has registered. Received: decoder of type {kind.__name__}"
        )
    if not decoder.built:
        decoder.build((None, *latent_shape))
    shape = tuple(decoder.compute_output_shape((None, *latent_shape)))
    if shape[1:] != tuple(image_shape):
        raise ValueError(f"`decoder` must make images {tuple(image_shape)}. Received: a decoder that makes {shape[1:]}")
    return decoder
