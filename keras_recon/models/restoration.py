"""The U-Net for restoration."""

import typing

import keras
import numpy as np
from keras import ops

from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.models.image_model import ImageModel
from keras_recon.models.reconstructor import centered, in_range
from keras_recon.presets import PRESETS


@keras.saving.register_keras_serializable("keras_recon")
class RestorationUNet(ImageModel):
    """U-Net that predicts the error of an image, for denoising, deblocking, enlarging and the like.

        images -+-> levels of strided conv and blocks ==skips==> levels of blocks and upsampling -(+)-> images
                +----------------------------------------------------------------------------------+

    "U-Net" (Ronneberger et al., 2015) with the residual of "Beyond a Gaussian Denoiser" (Zhang et al., 2017). It has no
    normalisation: statistics of a batch, or of an image, would mix the noise of images and the flat parts of an image
    with its textures. The last layer is zero at first, so that training starts from the input itself.

    The model has no bottleneck and accepts images of any height and width: it pads them by reflection to a multiple of
    2^levels, and crops the output.

    Args:
        image_shape: (height, width, channels) of the crops in training and of the tiles of larger photos.
        filters: channels of each level, from fine to coarse; the first has half the image's height and width.
        num_blocks: residual blocks per level, in the encoder and in the decoder.
        upscale: 1, 2 or 4: ratio of the output's height and width to the input's. Training then starts from
            nearest-neighbour enlarging.
        **kwargs: `name` and `dtype`, see `keras.Model`.

    Attributes:
        patch_size: 2^levels, the side in pixels of a position of the coarsest level.

    Example:
    >>> model = keras_recon.models.RestorationUNet((32, 32, 3), filters=(8, 16), num_blocks=1)
    >>> noisy = np.random.rand(2, 50, 37, 3).astype("float32")
    >>> bool((keras.ops.convert_to_numpy(model(noisy)) == noisy).all())  # from here it learns
    True
    """

    fully_convolutional = True
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
        super().__init__(image_shape, **kwargs)
        sizes = {"filters": filters, "num_blocks": num_blocks, "normalization": "none", "dtype": self.dtype_policy}
        self.encoder = ConvEncoder(**sizes, name="encoder")
        self.decoder = ConvDecoder(self.image_shape[-1], zero_init=True, divided=False, **sizes, name="decoder")
        self.patch_size = 2 ** len(filters)
        self.filters = filters
        self.num_blocks = num_blocks
        self.upscale = upscale
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        """Build every layer."""
        self.encoder.build((None, None, None, self.image_shape[-1]))
        self.decoder.build((None, None, None, self.filters[-1]))

    def call(self, images, training=None):
        """Restore images.

        Args:
            images: (batch, height, width, channels) in [0, 1].
            training: whether outputs may leave [0, 1].

        Returns:
            Images (batch, upscale * height, upscale * width, channels) in [0, 1].
        """
        images = ops.cast(images, "float32")
        if self.upscale > 1:
            images = ops.repeat(ops.repeat(images, self.upscale, axis=1), self.upscale, axis=2)
        padded, height, width = pad_by_reflection(images, self.patch_size)
        levels = self.encoder(centered(padded), training=training)
        residual = self.decoder(levels[-1], levels, training=training)[:, :height, :width]
        return in_range(images + ops.cast(residual, "float32"), training)

    def lora_parts(self):
        """Return the encoder and the decoder."""
        return [self.encoder, self.decoder]

    def get_config(self):
        """Return the arguments of the constructor and the state of `ImageModel.get_config`."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "filters": self.filters,
            "num_blocks": self.num_blocks,
            "upscale": self.upscale,
        }


def pad_by_reflection(images, multiple: int) -> tuple:
    """Pad images at the bottom and at the right by reflection.

    Args:
        images: (batch, height, width, channels), of static or dynamic size.
        multiple: the padded height and width are multiples of this number.

    Returns:
        The padded images, and the height and width that they had.
    """
    sizes = []
    for axis in (1, 2):
        size = images.shape[axis]
        if size is None:  # of a traced function
            size = ops.shape(images)[axis]
            indices = ops.arange(-(-size // multiple) * multiple)
            images = ops.take(images, _reflected(indices, size, ops.maximum), axis)
        elif size % multiple:
            indices = np.arange(-(-size // multiple) * multiple, dtype="int32")
            images = ops.take(images, _reflected(indices, size, np.maximum), axis)
        sizes.append(size)
    return images, *sizes


def _reflected(indices, size, maximum):
    """Map indices from 0 to pixels of an image of that size, back and forth without repeating the last pixel."""
    indices = indices % maximum(2 * size - 2, 1)
    return indices - 2 * maximum(indices - (size - 1), 0)
