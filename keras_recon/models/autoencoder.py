import typing

import keras
from keras import ops

from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.models.reconstructor import Reconstructor, centered
from keras_recon.presets import PRESETS


@keras.saving.register_keras_serializable("keras_recon")
class ConvAutoencoder(Reconstructor):
    """Convolutional autoencoder: each level halves height and width, the decoder doubles them back symmetrically.

        images -> levels of strided conv and blocks -> head -+-> latents -> levels of blocks and upsampling -+-> images
             \\----------------- linear --------------------/          \\-------------- linear --------------/

    Residual blocks as in `keras_recon.layers.ResidualBlock`; the linear path is described in `Reconstructor`.

    Args:
        image_shape: (height, width, channels); None for a height or width that differs from batch to batch.
        filters: channels of each level, from fine to coarse. `patch_size`, the side in pixels of what a latent vector
            stands for, is 2^levels and must divide height and width.
        latent_dim: latent values per position.
        num_blocks: residual blocks per level, in the encoder and in the decoder.
        normalization: `"batch"`, `"layer"`, `"group"` or `"none"`.
        upsampling: `"pixel_shuffle"`, `"resize"` or `"transposed"`, see `keras_recon.layers.Upsample`.
        dropout_rate: dropout inside the blocks, in [0, 1).
        skips: U-Net connections from each encoder level to the decoder level of its size ("U-Net", Ronneberger et
            al., 2015), for restoration. What they carry goes around the latents, so `compression_ratio` counts it too
            and `decode` refuses latents alone.
        kl_weight: above 0, a variational bottleneck ("Auto-Encoding Variational Bayes", Kingma and Welling, 2014):
            training draws the latents and adds to the loss this weight times their KL divergence from a standard
            normal, in nats per latent value; `encode` and inference take the mean.
        linear_path: the linear autoencoder beside the network, `"lapped"`, True or False; fit it with `adapt`.
        seed: of the variational draws.

    Example:

    >>> model = keras_recon.models.ConvAutoencoder(image_shape=(32, 32, 3), filters=(8, 16), latent_dim=6)
    >>> model.latent_shape, model.compression_ratio
    ((8, 8, 6), 8.0)
    >>> larger = model.for_image_shape((64, 48, 3))  # with the same weights
    >>> larger.predict(np.random.rand(2, 64, 48, 3), verbose=0).shape
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
        skips: bool = False,
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
        self.skips = skips
        self.kl_weight = kl_weight
        self.seed = seed
        if skips:  # they carry every level's features around the bottleneck
            carried = sum(self.patch_size**2 // 4**i * width for i, width in enumerate(filters, 1))
            self.compression_ratio = self.patch_size**2 * self.image_shape[2] / (latent_dim + carried)
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        super().build(input_shape)
        self.encoder.build(input_shape)
        self.build_heads(self.filters[-1])
        if self.kl_weight:
            self.log_variance_head.build((None, *self.latent_shape[:2], self.filters[-1]))

    @property
    def decodes_latents(self) -> bool:
        return not self.skips

    def levels(self, images, training=None):
        """The encoder's features at every level, from fine to coarse."""
        return self.encoder(centered(images), training=training)

    def features(self, images, patches, training=None):
        return self.levels(images, training)[-1]

    def decode(self, latents, training=None):
        if self.skips:
            raise ValueError("With skips, latents alone are no image: call the model. Received: skips=True")
        return super().decode(latents, training)

    def call(self, images, training=None):
        levels = self.levels(images, training)
        latents = self.to_latents(self.patches(images), levels[-1])
        if self.kl_weight and training:
            log_variance = ops.cast(self.log_variance_head(levels[-1]), "float32")
            kl = (ops.square(latents) + ops.exp(log_variance) - 1.0 - log_variance) / 2.0
            self.add_loss(self.kl_weight * ops.mean(kl))
            noise = keras.random.normal(ops.shape(latents), dtype="float32", seed=self.seed_generator)
            latents = latents + ops.exp(log_variance / 2.0) * noise
        decoded = self.decoder(latents, levels if self.skips else None, training=training)
        return self.to_images(latents, decoded, training)

    def get_config(self):
        config = super().get_config()
        del config["patch_size"]
        return {
            **config,
            "filters": self.filters,
            "num_blocks": self.num_blocks,
            "normalization": self.normalization,
            "upsampling": self.upsampling,
            "dropout_rate": self.dropout_rate,
            "skips": self.skips,
            "kl_weight": self.kl_weight,
            "seed": self.seed,
        }
