import math
import typing
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_recon.layers import LinearAutoencoder, LinearDecoder, PixelRefiner, Transformer
from keras_recon.layers.conv import check_choice
from keras_recon.models.image_model import Checked, SafelySaved, check_range
from keras_recon.ops import inverse_lapped_transform, lapped_transform, patchify, unpatchify

MAX_ADAPT_VALUES = 2**24  # 128 MiB in float64


def fitting_patches(model, data: np.ndarray | Iterable, max_patches: int | None) -> np.ndarray:
    """Patches of degraded and of clean images, (2, n, values), as `Reconstructor.adapt` reads them."""
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


def centered(pixels):
    """Pixels in [0, 1] at about zero mean and unit variance, as networks take them."""
    return 4.0 * pixels - 2.0


def in_range(images, training):
    """Images clipped to [0, 1], unless in training, where a clipped pixel would get no gradient."""
    return images if training else ops.clip(images, 0.0, 1.0)


class Reconstructor(Checked, SafelySaved):
    """An image autoencoder, `decode(encode(images))`: float images in [0, 1] to images of the same shape and range.

    Subclasses implement `features`, what their encoder sees, and have a `latent_head` and a `decoder`. With a linear
    path, what their network computes is added to a linear autoencoder that `adapt` fits: of overlapping patches, see
    `keras_recon.ops.lapped_transform`, or of patches, which is PCA. The network's last layers are zero at first, so
    training begins at its quality. A refiner then works on the image that this gives: beside a lapped path, which
    leaves the network nothing easy to begin with, it learns most. Outputs are clipped to [0, 1], except in training.

    Args:
        image_shape: (height, width, channels); a fully convolutional model takes None for an unknown height or width.
        patch_size: side in pixels of the patch behind a latent vector; must divide height and width.
        latent_dim: latent values per patch.
        linear_path: `"lapped"`, True for a linear autoencoder of patches, or False for none.
        refiner_filters: channels of the `keras_recon.layers.PixelRefiner` at the end, 0 for none; None for 32 beside a
            lapped path, else 0.

    Attributes:
        latent_shape: (height / patch_size, width / patch_size, latent_dim).
        compression_ratio: input values per latent value.
        decodes_latents: whether latents alone are an image, so that `decode` takes them.
        has_latents: whether there is a bottleneck, so that `encode` has an answer.
        is_masked: whether calls hide patches from the encoder.
        fully_convolutional: whether the weights serve images of any size.
        upscale: how many times as high and wide as its input the output is.
        strategy: what of a pretrained backbone is trained.
        variants: constructor arguments by the name of a size.

    Example:

    >>> keras_recon.models.ViTReconstructor.from_variant("micro", image_shape=(96, 64, 3), latent_dim=6).latent_shape
    (12, 8, 6)
    """

    variants: typing.ClassVar[dict[str, dict]] = {}
    decodes_latents: bool = True
    has_latents: bool = True
    is_masked: bool = False
    fully_convolutional: bool = False
    upscale: int = 1
    strategy: str = "full"

    def __init__(
        self,
        image_shape,
        patch_size: int,
        latent_dim: int,
        linear_path: bool | str,
        refiner_filters: int | None = None,
        **kwargs,
    ):
        # Inputs are not cast to the compute dtype: in half precision the pixels themselves would be rounded.
        super().__init__(**kwargs, autocast=False)
        self.image_shape = tuple(image_shape)
        sides = [side for side in self.image_shape[:2] if side is not None or not self.fully_convolutional]
        if len(self.image_shape) != 3 or not all(isinstance(n, int) and n > 0 for n in (*sides, self.image_shape[2])):
            unknown = ", None for an unknown height or width" if self.fully_convolutional else ""
            raise ValueError(
                f"`image_shape` must be (height, width, channels){unknown}. Received: image_shape={image_shape}"
            )
        if patch_size < 1 or any(side % patch_size for side in sides):
            raise ValueError(
                f"`patch_size` must divide the image's height and width. "
                f"Received: patch_size={patch_size}, image_shape={self.image_shape}"
            )
        channels = self.image_shape[2]
        if not 1 <= latent_dim <= patch_size**2 * channels:
            raise ValueError(
                f"`latent_dim` must be from 1 to the {patch_size**2 * channels} values of a patch. "
                f"Received: latent_dim={latent_dim}"
            )
        check_choice("linear_path", linear_path, ("lapped", True, False))
        self.patch_size = patch_size
        self.latent_dim = latent_dim
        self.linear_path = linear_path
        self.refiner_filters = (32 if linear_path == "lapped" else 0) if refiner_filters is None else refiner_filters
        self.latent_shape = (*[side and side // patch_size for side in self.image_shape[:2]], latent_dim)
        self.compression_ratio = patch_size**2 * channels / latent_dim
        if linear_path:
            self.linear = LinearAutoencoder(latent_dim, name="linear")
        if self.refiner_filters:
            self.refiner = PixelRefiner(self.refiner_filters, dtype=self.dtype_policy, name="refiner")

    @classmethod
    def from_variant(cls, variant: str, **kwargs) -> "Reconstructor":
        """A model of a size in `variants`; keyword arguments are the constructor's and take precedence."""
        if variant not in cls.variants:
            raise ValueError(f"`variant` must be one of {list(cls.variants)}. Received: variant={variant!r}")
        return cls(**{**cls.variants[variant], **kwargs})

    @property
    def patches_shape(self) -> tuple:
        """Of what `patches` makes, the batch None."""
        return (None, *self.latent_shape[:2], self.patch_size**2 * self.image_shape[-1])

    def build(self, input_shape):
        """Build every layer: subclasses call this at the end of `__init__`, and here build what theirs are."""
        if self.linear_path:
            self.linear.build(self.patches_shape)
        if self.refiner_filters:
            self.refiner.build((None, *self.image_shape))

    def build_heads(self, features_dim: int):
        """Build what makes latents of features (batch, rows, columns, features_dim), and images of latents."""
        self.latent_head.build((None, *self.latent_shape[:2], features_dim))
        if not self.decoder.built:  # as one of a user's own is
            self.decoder.build((None, *self.latent_shape))

    def make_latent_head(self) -> keras.layers.Dense:
        """The layer from features to latents: zero at first where there is a linear path."""
        initializer = "zeros" if self.linear_path else "glorot_uniform"
        return keras.layers.Dense(
            self.latent_dim, kernel_initializer=initializer, dtype=self.dtype_policy, name="latent_head"
        )

    def patches(self, images):
        """Patches (batch, rows, columns, patch_size * patch_size * channels) of images, or overlapping ones of them."""
        if self.linear_path == "lapped":
            images = lapped_transform(images, self.patch_size)
        return patchify(images, self.patch_size)

    def features(self, images, patches, training=None):
        """The encoder's features (batch, rows, columns, values) of images (batch, *image_shape).

        Args:
            images: (batch, *image_shape).
            patches: what `patches` makes of them.
        """
        raise NotImplementedError

    def encode(self, images, training=None):
        """Latents (batch, *latent_shape) of images (batch, *image_shape).

        In batches, for more images than memory holds:

        >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
        >>> encoder = keras.Model(images := keras.Input(model.image_shape), model.encode(images))
        >>> encoder.predict(np.random.rand(40, 32, 32, 3), batch_size=16, verbose=0).shape
        (40, 4, 4, 12)
        """
        images = self.checked(images)
        patches = self.patches(images)
        return self.to_latents(patches, self.features(images, patches, training=training))

    def to_latents(self, patches, features):
        """Latents (..., latent_dim) of patches (..., values) whose features (..., features) are known."""
        latents = ops.cast(self.latent_head(features), "float32")
        if self.linear_path:  # divided for the reason given in `LinearDecoder`
            latents = self.linear.encode(patches) + latents / features.shape[-1]
        return latents

    def decode(self, latents, training=None):
        """Images (batch, *image_shape) of latents (batch, *latent_shape)."""
        return self.to_images(latents, self.decoder(latents, training=training), training)

    def to_images(self, latents, decoded, training):
        """What the decoder made of the latents, with the linear path or the middle of the range below it."""
        decoded = ops.cast(decoded, "float32")
        below = unpatchify(self.linear.decode(latents), self.patch_size) if self.linear_path else 0.5
        if self.linear_path == "lapped":
            if isinstance(self.decoder, (LinearDecoder, Transformer)):  # they decode patches, which overlap too
                below, decoded = below + decoded, 0.0
            below = inverse_lapped_transform(below, self.patch_size)
        images = below + decoded
        if self.refiner_filters:
            images = images + ops.cast(self.refiner(centered(images), training=training), "float32")
        return in_range(images, training)

    def call(self, images, training=None):
        return self.decode(self.encode(images, training=training), training=training)

    def visible_part(self, images: np.ndarray) -> np.ndarray:
        """What inference sees of images: all; of a masked model, gray where a patch is hidden."""
        return images

    def variable_depths(self) -> dict[str, int]:
        """Depth in a pretrained backbone, by path, of the variables that come from one."""
        return {}

    def for_image_shape(self, image_shape: tuple[int, int, int]) -> "Reconstructor":
        """A copy with the same weights for images of another height and width, where the model is fully convolutional.

        Args:
            image_shape: (height, width, channels); height and width must be multiples of `patch_size`.
        """
        if not self.fully_convolutional:
            raise ValueError(
                f"`image_shape` of a {type(self).__name__} must be {self.image_shape}, which its weights are for. "
                f"Received: image_shape={tuple(image_shape)}"
            )
        if tuple(image_shape[2:]) != self.image_shape[2:]:
            raise ValueError(
                f"`image_shape` must have the {self.image_shape[2]} channels of the weights. "
                f"Received: image_shape={tuple(image_shape)}"
            )
        return self.clone(image_shape=tuple(image_shape))

    def adapt(self, data: np.ndarray | Iterable, max_patches: int | None = None):
        """Fit the linear path: by PCA of the patches, or from degraded to clean ones by reduced-rank regression.

        Args:
            data: images (batch, *image_shape) in [0, 1], or batches of them, or of (degraded, clean) pairs.
            max_patches: reading stops after so many patches; by default at 2^24 values.
        """
        if not self.linear_path:
            raise ValueError("`adapt` fits the linear path. Received: linear_path=False")
        self.linear.fit(*fitting_patches(self, data, max_patches))

    def get_config(self):
        return {
            **super().get_config(),
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "image_shape": self.image_shape,
            "patch_size": self.patch_size,
            "latent_dim": self.latent_dim,
            "linear_path": self.linear_path,
            "refiner_filters": self.refiner_filters,
        }
