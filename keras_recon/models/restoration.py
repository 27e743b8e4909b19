import typing

import keras
from keras import ops

from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.models.reconstructor import Reconstructor, centered, in_range
from keras_recon.presets import PRESETS


@keras.saving.register_keras_serializable("keras_recon")
class RestorationUNet(Reconstructor):
    """U-Net that predicts what is wrong with an image, for denoising, deblocking and the like: nothing is compressed.

        images -+-> levels of strided conv and blocks ==skips==> levels of blocks and upsampling -(+)-> images
                +----------------------------------------------------------------------------------+

    "U-Net" (Ronneberger et al., 2015) with the residual of "Beyond a Gaussian Denoiser" (Zhang et al., 2017). There is
    no normalisation: statistics of a batch, or of an image, would mix its noise with that of others and its flat parts
    with its textures. The last layer is zero at first, so that training begins at the input itself.

    `encode` and `decode` are refused, as no latents are an image. `latent_shape` counts all values of the image.

    Args:
        image_shape: (height, width, channels).
        filters: channels of each level, from fine to coarse; the first has half the image's height and width, which
            2^levels must divide.
        num_blocks: residual blocks per level, in the encoder and in the decoder.
        upscale: 1, 2 or 4: how many times as high and wide as its input the output is; training then begins at
            nearest-neighbour enlarging.

    Example:

    >>> model = keras_recon.models.RestorationUNet((32, 32, 3), filters=(8, 16), num_blocks=1)
    >>> noisy = np.random.rand(2, 32, 32, 3).astype("float32")
    >>> bool((keras.ops.convert_to_numpy(model(noisy)) == noisy).all())  # from here it learns
    True
    >>> model.for_image_shape((64, 48, 3)).image_shape  # with the same weights
    (64, 48, 3)
    """

    fully_convolutional = True
    has_latents = False
    decodes_latents = False
    presets: typing.ClassVar = {name: PRESETS[name] for name in ("denoise", "deblock", "upscale2")}

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (96, 96, 3),
        filters: tuple[int, ...] = (64, 64, 64),
        num_blocks: int = 2,
        upscale: int = 1,
        **kwargs,
    ):
        filters = tuple(filters)
        if upscale not in (1, 2, 4):
            raise ValueError(f"`upscale` must be 1, 2 or 4. Received: upscale={upscale!r}")
        side = 2 ** len(filters)
        super().__init__(image_shape, side, side**2 * tuple(image_shape)[-1], linear_path=False, **kwargs)
        sizes = {"filters": filters, "num_blocks": num_blocks, "normalization": "none", "dtype": self.dtype_policy}
        self.encoder = ConvEncoder(**sizes, name="encoder")
        self.decoder = ConvDecoder(self.image_shape[-1], zero_init=True, divided=False, **sizes, name="decoder")
        self.filters = filters
        self.num_blocks = num_blocks
        self.upscale = upscale
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        super().build(input_shape)
        height, width, channels = self.output_image_shape
        self.encoder.build((None, height, width, channels))
        coarsest = [side and side // self.patch_size for side in (height, width)]
        self.decoder.build((None, *coarsest, self.filters[-1]))

    @property
    def output_image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.image_shape
        return (height and height * self.upscale, width and width * self.upscale, channels)

    def encode(self, images, training=None):
        raise ValueError("A RestorationUNet has no bottleneck, so no latents: call the model instead of `encode`")

    def decode(self, latents, training=None):
        raise ValueError("A RestorationUNet has no bottleneck, so no latents: call the model instead of `decode`")

    def call(self, images, training=None):
        images = ops.cast(images, "float32")
        if self.upscale > 1:
            images = ops.repeat(ops.repeat(images, self.upscale, axis=1), self.upscale, axis=2)
        levels = self.encoder(centered(images), training=training)
        residual = self.decoder(levels[-1], levels, training=training)
        return in_range(images + ops.cast(residual, "float32"), training)

    def get_config(self):
        config = super().get_config()
        for name in ("patch_size", "latent_dim", "linear_path", "refiner_filters"):
            del config[name]
        return {**config, "filters": self.filters, "num_blocks": self.num_blocks, "upscale": self.upscale}
