"""The base class of autoencoders with a bottleneck."""

import math
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_recon.layers import LinearAutoencoder, PixelRefiner
from keras_recon.layers.conv import check_choice
from keras_recon.models.image_model import ImageModel, check_range
from keras_recon.ops import inverse_lapped_transform, lapped_transform, patchify, unpatchify

MAX_ADAPT_VALUES = 2**24  # 128 MiB in float64


class Reconstructor(ImageModel):
    """Base class of image autoencoders, `decode(encode(images))`, with a bottleneck of `latent_dim` values per patch.

        images -+-> encoder -> features -> latent_head -(+)-> latents -+-> decoder -(+)-> refiner -> images
                +----------- linear path ---------------+              +- linear path +

    Subclasses implement `encoder_features` and have a `latent_head` and a `decoder`. With a linear path, the output of
    the network is added to a linear autoencoder that `adapt` fits: of overlapping patches, see
    `keras_recon.ops.lapped_transform`, or of patches, which is PCA. The last layers of the network are zero at first,
    so training starts from the quality of the linear autoencoder. A convolutional refiner then corrects the image; with
    a lapped path it learns most. Outputs are clipped to [0, 1], except in training.

    Args:
        image_shape: (height, width, channels), see `ImageModel`.
        patch_size: side in pixels of the patch behind a latent vector; must divide height and width.
        latent_dim: latent values per patch.
        linear_path: `"lapped"`, True for a linear autoencoder of patches, or False for none.
        refiner_filters: channels of the `keras_recon.layers.PixelRefiner`, 0 for none; None for 32 with a lapped path
            and 0 otherwise.
        **kwargs: `name` and `dtype`, see `keras.Model`.

    Attributes:
        latent_shape: (height / patch_size, width / patch_size, latent_dim).
        compression_ratio: input values per latent value.
        decodes_latents: whether `decode` makes images from latents alone.

    Example:
    >>> keras_recon.models.ViTReconstructor.from_variant("micro", image_shape=(96, 64, 3), latent_dim=6).latent_shape
    (12, 8, 6)
    """

    decodes_latents: bool = True

    def __init__(
        self,
        image_shape,
        patch_size: int,
        latent_dim: int,
        linear_path: bool | str,
        refiner_filters: int | None = None,
        **kwargs,
    ):
        super().__init__(image_shape, **kwargs)
        *sides, channels = self.image_shape
        if patch_size < 1 or any(side and side % patch_size for side in sides):
            raise ValueError(
                f"`patch_size` must divide the image's height and width. "
                f"Received: patch_size={patch_size}, image_shape={self.image_shape}"
            )
        if not 1 <= latent_dim <= patch_size**2 * channels:
            raise ValueError(
                f"`latent_dim` must be from 1 to the {patch_size**2 * channels} values of a patch. "
                f"Received: latent_dim={latent_dim}"
            )
        check_choice("linear_path", linear_path, ("lapped", True, False))
        self.patch_size = self.multiple = patch_size
        self.latent_dim = latent_dim
        self.linear_path = linear_path
        self.refiner_filters = (32 if linear_path == "lapped" else 0) if refiner_filters is None else refiner_filters
        self.latent_shape = (*[side and side // patch_size for side in sides], latent_dim)
        self.compression_ratio = patch_size**2 * channels / latent_dim
        if linear_path:
            self.linear = LinearAutoencoder(latent_dim, name="linear")
        if self.refiner_filters:
            self.refiner = PixelRefiner(self.refiner_filters, dtype=self.dtype_policy, name="refiner")

    @property
    def patches_shape(self) -> tuple:
        """Shape of the output of `patches`, with None for the batch."""
        return (None, *self.latent_shape[:2], self.patch_size**2 * self.image_shape[-1])

    def build(self, input_shape):
        """Build every layer. Subclasses call this at the end of `__init__` and extend it for their own layers."""
        if self.linear_path:
            self.linear.build(self.patches_shape)
        if self.refiner_filters:
            self.refiner.build((None, *self.image_shape))

    def build_heads(self, features_dim: int):
        """Build the latent head, for features (batch, rows, columns, features_dim), and the decoder."""
        self.latent_head.build((None, *self.latent_shape[:2], features_dim))
        if not self.decoder.built:  # as a decoder that the user passed is
            self.decoder.build((None, *self.latent_shape))

    def make_latent_head(self) -> keras.layers.Dense:
        """Make the layer from features to latents, which is zero at first if there is a linear path."""
        initializer = "zeros" if self.linear_path else "glorot_uniform"
        return keras.layers.Dense(
            self.latent_dim, kernel_initializer=initializer, dtype=self.dtype_policy, name="latent_head"
        )

    def patches(self, images):
        """Cut images into patches (batch, rows, columns, patch_size * patch_size * channels), lapped if the path is."""
        if self.linear_path == "lapped":
            images = lapped_transform(images, self.patch_size)
        return patchify(images, self.patch_size)

    def features(self, images, training=None, *, patch_mask=None):
        """Compute the features of the encoder.

        Args:
            images: (batch, *image_shape) in [0, 1].
            training: whether layers such as dropout are active.
            patch_mask: for masked models, see `MaskedReconstructor`.

        Returns:
            Features (batch, rows, columns, values).
        """
        self.check_mask(patch_mask)
        images = self.checked(images)
        return self.encoder_features(images, self.patches(images), training)

    def encoder_features(self, images, patches, training=None):
        """Compute `features` from checked images and the output of `patches`."""
        raise NotImplementedError

    def encode(self, images, training=None, *, patch_mask=None):
        """Compute latents (batch, *latent_shape) of images (batch, *image_shape).

        Args:
            images: (batch, *image_shape) in [0, 1].
            training: whether layers such as dropout are active.
            patch_mask: for masked models, see `MaskedReconstructor`.

        Example: in batches, for more images than memory holds.

        >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
        >>> encoder = keras.Model(images := keras.Input(model.image_shape), model.encode(images))
        >>> encoder.predict(np.random.rand(40, 32, 32, 3), batch_size=16, verbose=0).shape
        (40, 4, 4, 12)
        """
        self.check_mask(patch_mask)
        images = self.checked(images)
        patches = self.patches(images)
        return self.to_latents(patches, self.encoder_features(images, patches, training))

    def check_mask(self, patch_mask):
        """Raise a ValueError for a patch mask that the model cannot use."""
        if patch_mask is not None:
            raise ValueError(
                f"`patch_mask` must be None for a {type(self).__name__} without a `mask_ratio`. Received: a patch mask"
            )

    def to_latents(self, patches, features):
        """Compute latents (..., latent_dim) from patches (..., values) and their features (..., features)."""
        latents = ops.cast(self.latent_head(features), "float32")
        if self.linear_path:  # divided for the reason given in `LinearDecoder`
            latents = self.linear.encode(patches) + latents / features.shape[-1]
        return latents

    def decode(self, latents, training=None):
        """Compute images (batch, *image_shape) from latents (batch, *latent_shape)."""
        return self.to_images(latents, self.decoder(latents, training=training), training)

    def to_images(self, latents, decoded, training):
        """Add the output of the decoder to the linear path, or to mid-gray without one, and refine the sum."""
        decoded = ops.cast(decoded, "float32")
        images = unpatchify(self.linear.decode(latents), self.patch_size) if self.linear_path else 0.5
        if self.linear_path == "lapped":
            if self.decodes_patches:  # then they overlap as those of the linear path
                images, decoded = images + decoded, 0.0
            images = inverse_lapped_transform(images, self.patch_size)
        images = images + decoded
        if self.refiner_filters:
            images = images + ops.cast(self.refiner(centered(images), training=training), "float32")
        return in_range(images, training)

    @property
    def decodes_patches(self) -> bool:
        """Whether the decoder makes each patch from its own vector, so that patches can be lapped."""
        return getattr(self.decoder, "decodes_patches", False)

    def call(self, images, training=None):
        """Compute reconstructions of images (batch, *image_shape) in [0, 1]."""
        return self.decode(self.encode(images, training=training), training=training)

    def adapt(self, data: np.ndarray | Iterable, max_patches: int | None = None):
        """Fit the linear path: by PCA of patches, or from degraded to clean ones by reduced-rank regression.

        Args:
            data: images (batch, *image_shape) in [0, 1], or batches of them, or of (degraded, clean) pairs.
            max_patches: number of patches to read; None for as many as have 2^24 values.
        """
        if not self.linear_path:
            raise ValueError("`adapt` fits the linear path. Received: linear_path=False")
        self.linear.fit(*fitting_patches(self, data, max_patches))

    def lora_parts(self):
        """Return the encoder and the decoder."""
        return [self.encoder, self.decoder]

    def get_config(self):
        """Return the arguments that all reconstructors have, and the state of `ImageModel.get_config`."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "latent_dim": self.latent_dim,
            "linear_path": self.linear_path,
            "refiner_filters": self.refiner_filters,
        }


def centered(pixels):
    """Scale pixels in [0, 1] to about zero mean and unit variance for a network."""
    return 4.0 * pixels - 2.0


def in_range(images, training):
    """Clip images to [0, 1], except in training, where a clipped pixel would get no gradient."""
    return images if training else ops.clip(images, 0.0, 1.0)


def fitting_patches(model, data: np.ndarray | Iterable, max_patches: int | None) -> np.ndarray:
    """Read patches of degraded and of clean images, (2, n, values), for `Reconstructor.adapt`."""
    values = model.patches_shape[-1]
    missing = max_patches or MAX_ADAPT_VALUES // values
    patches = [np.empty((2, 0, values), "float32")]  # degraded and clean
    for batch in [data] if hasattr(data, "shape") else data:
        degraded, clean = (np.asarray(i) for i in (batch if isinstance(batch, (tuple, list)) else (batch, batch)))
        if not np.issubdtype(clean.dtype, np.floating) or clean.shape[3:] != model.image_shape[2:]:
            raise ValueError(
                f"`data` must be float images in [0, 1], bytes divided by 255, with {model.image_shape[2]} channels. "
                f"Received: {clean.dtype} of shape {clean.shape}"
            )
        sides = clean.shape[1:3]
        if not all(side and side % model.patch_size == 0 for side in sides):
            raise ValueError(
                f"`data` must be images whose height and width are multiples of {model.patch_size}. "
                f"Received: {sides[0]}x{sides[1]}"
            )
        check_range(degraded)
        count = math.ceil(missing / math.prod(side // model.patch_size for side in sides))
        pair = ops.convert_to_tensor(np.concatenate([degraded[:count], clean[:count]]), "float32")
        pair = ops.convert_to_numpy(model.patches(pair)).reshape(2, -1, values)
        patches.append(pair[:, :missing])
        missing -= patches[-1].shape[1]
        if not missing:
            break
    return np.concatenate(patches, axis=1)
