"""The convolutional autoencoder."""

import typing

import keras
from keras import ops

from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.models.reconstructor import Reconstructor, centered
from keras_recon.presets import PRESETS


@keras.saving.register_keras_serializable("keras_recon")
class ConvAutoencoder(Reconstructor):
    r"""Convolutional autoencoder: each level halves height and width, the decoder doubles them back symmetrically.

        images -> levels of strided conv and blocks -> head -+-> latents -> levels of blocks and upsampling -+-> images
             \----------------- linear --------------------/          \-------------- linear --------------/

    See `keras_recon.layers.ResidualBlock` for the blocks and `Reconstructor` for the linear path.

    Args:
        image_shape: (height, width, channels); None for an unknown height or width. The model accepts images of any
            height and width that are multiples of `patch_size`.
        filters: channels of each level, from fine to coarse. `patch_size`, the side in pixels of the patch behind a
            latent vector, is 2^levels and must divide height and width.
        latent_dim: latent values per position.
        num_blocks: residual blocks per level, in the encoder and in the decoder.
        normalization: `"batch"`, `"layer"`, `"group"` or `"none"`.
        upsampling: `"pixel_shuffle"`, `"resize"` or `"transposed"`, see `keras_recon.layers.Upsample`.
        dropout_rate: dropout inside the blocks, in [0, 1).
        kl_weight: weight of a variational bottleneck ("Auto-Encoding Variational Bayes", Kingma and Welling, 2014),
            0 for none. Training draws the latents and adds to the loss this weight times their KL divergence from a
            standard normal, in nats per latent value. `encode` and inference use the mean.
        linear_path: the linear autoencoder beside the network, `"lapped"`, True or False; fit it with `adapt`.
        seed: seed of the variational draws.
        **kwargs: `refiner_filters`, see `Reconstructor`, `name` and `dtype`.

    Example:
    >>> model = keras_recon.models.ConvAutoencoder(image_shape=(32, 32, 3), filters=(8, 16), latent_dim=6)
    >>> model.latent_shape, model.compression_ratio
    ((8, 8, 6), 8.0)
    >>> model.predict(np.random.rand(2, 64, 48, 3), verbose=0).shape
    (2, 64, 48, 3)
    """

    fully_convolutional = True
    presets: typing.ClassVar = {"autoencoder": PRESETS["autoencoder"]}
    variants: typing.ClassVar = {
        "micro": {"filters": (16, 64, 160), "num_blocks": 1},
        "small": {"filters": (64, 128, 256), "num_blocks": 2},
        "base": {"filters": (128, 256, 512), "num_blocks": 3},
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        filters: tuple[int, ...] = (16, 64, 160),
        latent_dim: int = 12,
        num_blocks: int = 1,
        normalization: str = "batch",
        upsampling: str = "pixel_shuffle",
        dropout_rate: float = 0.0,
        kl_weight: float = 0.0,
        linear_path: bool | str = "lapped",
        seed: int | None = None,
        **kwargs,
    ):
        filters = tuple(filters)
        if any(side is not None and side % 2 ** len(filters) for side in tuple(image_shape)[:2]):
            raise ValueError(
                "`filters` has a number per level, and 2^levels must divide the image's height and width. "
                f"Received: filters={filters}, image_shape={image_shape}"
            )
        if kl_weight < 0:
            raise ValueError(f"`kl_weight` must not be negative. Received: kl_weight={kl_weight}")
        super().__init__(image_shape, 2 ** len(filters), latent_dim, linear_path, **kwargs)
        shared = {
            "filters": filters,
            "num_blocks": num_blocks,
            "normalization": normalization,
            "dropout_rate": dropout_rate,
            "dtype": self.dtype_policy,
        }
        self.encoder = ConvEncoder(**shared, name="encoder")
        self.decoder = ConvDecoder(
            self.image_shape[-1], upsampling=upsampling, zero_init=bool(linear_path), **shared, name="decoder"
        )
        self.latent_head = self.make_latent_head()
        if kl_weight:
            # Draws start at a standard deviation of 0.05 where PCA's latents have 1.
            start = keras.initializers.Constant(-6.0)
            self.log_variance_head = keras.layers.Dense(
                latent_dim,
                kernel_initializer="zeros",
                bias_initializer=start,
                dtype=self.dtype_policy,
                name="log_variance_head",
            )
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.filters = filters
        self.num_blocks = num_blocks
        self.normalization = normalization
        self.upsampling = upsampling
        self.dropout_rate = dropout_rate
        self.kl_weight = kl_weight
        self.seed = seed
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        """Build every layer."""
        super().build(input_shape)
        self.encoder.build(input_shape)
        self.build_heads(self.filters[-1])
        if self.kl_weight:
            self.log_variance_head.build((None, *self.latent_shape[:2], self.filters[-1]))

    def encoder_features(self, images, patches, training=None):
        """Compute the features of the coarsest level."""
        return self.encoder(centered(images), training=training)[-1]

    def call(self, images, training=None):
        """Compute reconstructions; a variational model draws its latents in training."""
        if not (self.kl_weight and training):
            return super().call(images, training)
        patches = self.patches(images)
        features = self.encoder_features(images, patches, training)
        latents = self.to_latents(patches, features)
        log_variance = ops.cast(self.log_variance_head(features), "float32")
        kl = (ops.square(latents) + ops.exp(log_variance) - 1.0 - log_variance) / 2.0
        self.add_loss(self.kl_weight * ops.mean(kl))
        noise = keras.random.normal(ops.shape(latents), dtype="float32", seed=self.seed_generator)
        return self.decode(latents + ops.exp(log_variance / 2.0) * noise, training)

    @classmethod
    def from_config(cls, config):
        """Build the model from a config, also from one of version 0.1.0 with the argument `skips`."""
        config = dict(config)
        if config.pop("skips", False):
            raise ValueError("`skips=True` was removed from ConvAutoencoder: use a RestorationUNet")
        return super().from_config(config)

    def get_config(self):
        """Return the arguments of the constructor and the state of `ImageModel.get_config`."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_blocks": self.num_blocks,
            "normalization": self.normalization,
            "upsampling": self.upsampling,
            "dropout_rate": self.dropout_rate,
            "kl_weight": self.kl_weight,
            "seed": self.seed,
        }
