"""The Vision Transformer that is trained from scratch."""

import typing

import keras

from keras_recon.layers import Transformer
from keras_recon.layers.decoders import make_decoder, with_decoder
from keras_recon.models.masked import MaskedReconstructor
from keras_recon.presets import PRESETS

# From "tiny" on, those of "Training data-efficient image transformers" (Touvron et al., 2021) and of ViT.
ENCODERS = {
    "micro": {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 256},
    "tiny": {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
    "small": {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "mlp_dim": 1536},
    "base": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
    "large": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096},
}
LARGE_DECODER = {"num_layers": 8, "num_heads": 16, "hidden_dim": 512, "mlp_dim": 2048}
DECODERS = {
    "micro": {**ENCODERS["micro"], "num_layers": 2},
    "tiny": {**ENCODERS["tiny"], "num_layers": 4},
    "small": {**ENCODERS["small"], "num_layers": 4},
    "base": LARGE_DECODER,
    "large": LARGE_DECODER,
}


@keras.saving.register_keras_serializable("keras_recon")
class ViTReconstructor(MaskedReconstructor):
    r"""Vision Transformer autoencoder with a bottleneck of `latent_dim` values per patch, trained from scratch.

        images -> patches -> transformer -> head ----+--> latents -> transformer -> head ----+--> patches -> images
                     \--------- linear ------------/          \---------- linear ----------/

    Architecture of "An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021) for the encoder and of "Masked
    Autoencoders Are Scalable Vision Learners" (He et al., 2022) for the decoder. See `Reconstructor` for the linear
    path and `MaskedReconstructor` for masks. `keras_recon.export.backbone` turns the encoder of a trained model into a
    keras-hub backbone.

    Args:
        image_shape: (height, width, channels).
        patch_size: side of the square patches in pixels; must divide height and width.
        latent_dim: latent values per patch.
        num_layers: number of transformer blocks in the encoder.
        num_heads: attention heads of the encoder.
        hidden_dim: width of the encoder.
        mlp_dim: width of the hidden layer in the encoder's MLPs.
        decoder_num_layers: number of transformer blocks in the decoder.
        decoder_num_heads: attention heads of the decoder.
        decoder_hidden_dim: width of the decoder.
        decoder_mlp_dim: width of the hidden layer in the decoder's MLPs.
        dropout_rate: dropout after attention and MLP of the transformers, in [0, 1).
        drop_path_rate: stochastic depth of the last block, in [0, 1).
        position_embedding: `"learned"` or `"sincos"`.
        linear_path: the linear autoencoder beside the network, `"lapped"`, True or False; fit it with `adapt`.
        mask_ratio: share of the patches that calls hide from the encoder, in [0, 1).
        normalize_target: whether a masked model predicts patches of mean 0 and standard deviation 1.
        seed: seed of the masks in training.
        decoder: `"transformer"`, `"linear"`, `"conv"` or a layer from latents (batch, *latent_shape) to images, see
            `PretrainedViTReconstructor`. In a masked model its input has the mask token where a patch is hidden, and
            with `normalize_target` its output is of normalised patches.
        **kwargs: `refiner_filters`, see `Reconstructor`, `name` and `dtype`.

    Example:
    >>> model = keras_recon.models.ViTReconstructor(image_shape=(32, 32, 3), patch_size=8, latent_dim=12)
    >>> images = np.random.rand(16, 32, 32, 3).astype("float32")
    >>> model.adapt(images)  # from here it is a PCA, which training improves on
    >>> latents = model.encode(images)
    >>> latents.shape, model.compression_ratio
    ((16, 4, 4, 12), 16.0)
    >>> model.decode(latents).shape
    (16, 32, 32, 3)
    """

    presets: typing.ClassVar = {"vit": PRESETS["vit"]}
    variants: typing.ClassVar = {
        name: {**sizes, **{f"decoder_{size}": value for size, value in DECODERS[name].items()}}
        for name, sizes in ENCODERS.items()
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        patch_size: int = 8,
        latent_dim: int = 12,
        num_layers: int = 4,
        num_heads: int = 4,
        hidden_dim: int = 128,
        mlp_dim: int = 256,
        decoder_num_layers: int = 2,
        decoder_num_heads: int = 4,
        decoder_hidden_dim: int = 128,
        decoder_mlp_dim: int = 256,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        position_embedding: str = "learned",
        linear_path: bool | str = "lapped",
        mask_ratio: float = 0.0,
        normalize_target: bool = False,
        seed: int | None = None,
        decoder: str | keras.layers.Layer = "transformer",
        **kwargs,
    ):
        super().__init__(image_shape, patch_size, latent_dim, linear_path, mask_ratio, normalize_target, seed, **kwargs)
        transformer = {
            "dropout_rate": dropout_rate,
            "drop_path_rate": drop_path_rate,
            "position_embedding": position_embedding,
        }
        self.encoder = Transformer(
            num_layers, num_heads, hidden_dim, mlp_dim, **transformer, dtype=self.dtype_policy, name="encoder"
        )
        self.latent_head = self.make_latent_head()
        self.decoder = make_decoder(
            self, decoder, decoder_num_layers, decoder_num_heads, decoder_hidden_dim, decoder_mlp_dim, **transformer
        )
        self.decoder_kind = decoder if isinstance(decoder, str) else None
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.decoder_num_layers = decoder_num_layers
        self.decoder_num_heads = decoder_num_heads
        self.decoder_hidden_dim = decoder_hidden_dim
        self.decoder_mlp_dim = decoder_mlp_dim
        self.dropout_rate = dropout_rate
        self.drop_path_rate = drop_path_rate
        self.position_embedding = position_embedding
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        """Build every layer."""
        super().build(input_shape)
        self.build_heads(self.hidden_dim)

    @classmethod
    def from_config(cls, config):
        """Build the model, with a decoder that was passed as a layer."""
        return super().from_config(with_decoder(config))

    def get_config(self):
        """Return the arguments of the constructor and the state of `ImageModel.get_config`."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "mlp_dim": self.mlp_dim,
            "decoder_num_layers": self.decoder_num_layers,
            "decoder_num_heads": self.decoder_num_heads,
            "decoder_hidden_dim": self.decoder_hidden_dim,
            "decoder_mlp_dim": self.decoder_mlp_dim,
            "dropout_rate": self.dropout_rate,
            "drop_path_rate": self.drop_path_rate,
            "position_embedding": self.position_embedding,
            "decoder": self.decoder_kind or keras.saving.serialize_keras_object(self.decoder),
        }
