"""The base class of models that can hide patches from their encoder."""

import keras
import numpy as np
from keras import ops

from keras_recon.layers import MaskToken
from keras_recon.models.reconstructor import Reconstructor, centered, in_range
from keras_recon.ops import (
    count_visible,
    denormalize_patches,
    fixed_patch_mask,
    normalize_patches,
    paste_visible,
    patchify,
    random_patch_mask,
    take_tokens,
    visible_indices,
)


class MaskedReconstructor(Reconstructor):
    """A reconstructor that can hide patches from its encoder, as a masked autoencoder (He et al., 2022).

        images -> visible patches -> encoder -> head -> latents, mask tokens between -> decoder -> hidden patches

    The encoder runs on the visible patches only. The decoder gets one trained token in place of the latents of hidden
    patches. Visible patches of the output are copied from the input, so that any loss is one of the hidden patches. In
    training each image gets its own random mask. In inference one fixed mask hides the same patches of every image.
    With a `mask_ratio` of 0 no patch is hidden.

    Subclasses have an `encoder` that takes patches and the indices of the visible ones, see `layers.Transformer`.

    Args:
        image_shape: see `Reconstructor`.
        patch_size: see `Reconstructor`.
        latent_dim: see `Reconstructor`.
        linear_path: see `Reconstructor`. It decodes a hidden patch, at first, to the mean patch of PCA.
        mask_ratio: share of the patches that are hidden, in [0, 1); 0 for none.
        normalize_target: whether the network predicts patches of mean 0 and standard deviation 1, as He et al. do for
            better features. The loss in training then compares normalised images. Images are made with the statistics
            of the visible patches, see `denormalize_patches`, and cannot be decoded from latents alone.
        seed: seed of the masks in training.
        **kwargs: see `Reconstructor`.

    Attributes:
        num_visible: number of patches that stay visible.
        fixed_mask: boolean (1, rows, columns), True where inference hides a patch; None without a `mask_ratio`.

    Example:
    >>> model = keras_recon.models.ViTReconstructor(image_shape=(32, 32, 3), patch_size=8, mask_ratio=0.75)
    >>> model.num_visible, model.fixed_mask.shape
    (4, (1, 4, 4))
    >>> images = np.random.rand(2, 32, 32, 3).astype("float32")
    >>> outputs = keras.ops.convert_to_numpy(model(images))
    >>> float((outputs == images).mean())  # the visible quarter is copied
    0.25
    """

    def __init__(
        self,
        image_shape,
        patch_size: int,
        latent_dim: int,
        linear_path: bool | str,
        mask_ratio: float,
        normalize_target: bool,
        seed: int | None,
        **kwargs,
    ):
        if mask_ratio and linear_path == "lapped":
            linear_path = True
        super().__init__(image_shape, patch_size, latent_dim, linear_path, **kwargs)
        rows, columns, _ = self.latent_shape
        self.num_visible = max(1, round((1 - mask_ratio) * rows * columns))
        if not 0 <= mask_ratio < 1 or (mask_ratio and self.num_visible == rows * columns):
            raise ValueError(
                f"`mask_ratio` must be 0, or below 1 and hide at least one of the {rows * columns} patches. "
                f"Received: mask_ratio={mask_ratio}"
            )
        if normalize_target and not mask_ratio:
            raise ValueError("`normalize_target` needs a `mask_ratio` above 0. Received: normalize_target=True")
        self.fixed_mask = None
        if mask_ratio:
            self.fixed_mask = fixed_patch_mask(rows, columns, self.num_visible)
            self.mask_token = MaskToken(name="mask_token")
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.mask_ratio = mask_ratio
        self.normalize_target = normalize_target
        self.seed = seed

    def build(self, input_shape):
        """Build every layer."""
        super().build(input_shape)
        self.encoder.build(self.patches_shape)
        if self.mask_ratio:
            self.mask_token.build((None, None, self.latent_dim))

    @property
    def is_masked(self) -> bool:
        """Whether calls hide patches from the encoder."""
        return self.mask_ratio > 0

    @property
    def decodes_latents(self) -> bool:
        """Whether `decode` makes images from latents alone."""
        return not self.normalize_target

    def encoder_features(self, images, patches, training=None):
        """Compute the features of all patches."""
        return self.encoder(centered(patches), training=training)

    def features(self, images, training=None, *, patch_mask=None):
        """Compute features (batch, rows, columns, values) of images (batch, *image_shape).

        With a `patch_mask` (batch, rows, columns), they are those of the patches where it is False, as a sequence
        (batch, num_visible, values).
        """
        if patch_mask is None:
            return super().features(images, training)
        return self._visible(self.checked(images), patch_mask, training)[1]

    def encode(self, images, training=None, *, patch_mask=None):
        """Compute latents (batch, *latent_shape) of images (batch, *image_shape).

        With a `patch_mask` (batch, rows, columns), the patches where it is True are hidden from the encoder, and get
        the mask token as their latents.
        """
        if patch_mask is None:
            return super().encode(images, training)
        patches, features = self._visible(self.checked(images), patch_mask, training)
        return self.mask_token(self.to_latents(patches, features), patch_mask)

    def _visible(self, images, patch_mask, training):
        """Compute the visible patches (batch, num_visible, values) and their features."""
        self.check_mask(patch_mask)
        visible = visible_indices(patch_mask, count_visible(patch_mask) or self.num_visible)
        patches = patchify(images, self.patch_size)
        features = self.encoder(centered(patches), visible, training=training)
        patches = ops.reshape(patches, (-1, patches.shape[1] * patches.shape[2], patches.shape[3]))
        return take_tokens(patches, visible), features

    def check_mask(self, patch_mask):
        """Raise a ValueError for a patch mask of another shape, or for any if there is no `mask_ratio`."""
        if patch_mask is not None and (not self.mask_ratio or tuple(patch_mask.shape[1:]) != self.latent_shape[:2]):
            raise ValueError(
                f"`patch_mask` must be (batch, {self.latent_shape[0]}, {self.latent_shape[1]}), for a model with a "
                f"`mask_ratio`. Received: patch_mask of shape {tuple(patch_mask.shape)}, mask_ratio={self.mask_ratio}"
            )

    def decode(self, latents, training=None):
        """Compute images (batch, *image_shape) from latents (batch, *latent_shape)."""
        if self.normalize_target:
            raise ValueError("Normalised patches alone are no image: call the model. Received: normalize_target=True")
        return super().decode(latents, training=training)

    def call(self, images, training=None, *, patch_mask=None):
        """Compute reconstructions; a masked model copies visible patches and reconstructs hidden ones.

        Args:
            images: (batch, *image_shape) in [0, 1].
            training: whether masks are random and layers such as dropout are active.
            patch_mask: boolean (batch, rows, columns), True where a patch is hidden, with the same number in every
                image. If None, it is random in training and `fixed_mask` otherwise. In a compiled function, where the
                patches cannot be counted, it must leave `num_visible` patches visible.

        Returns:
            Images; in training with `normalize_target`, a dictionary of `images` and, for the loss, `normalized` ones.
        """
        if patch_mask is None and not self.mask_ratio:
            return super().call(images, training=training)
        if patch_mask is None:
            patch_mask = self._draw_mask(images, training)
        raw, normalized = self._reconstruct(images, patch_mask, training)
        outputs = paste_visible(raw, images, patch_mask)
        if normalized is None or not training:
            return outputs
        own = normalize_patches(images, self.patch_size)
        return {"images": outputs, "normalized": paste_visible(normalized, own, patch_mask)}

    def reconstruct_masked(self, images, patch_mask=None):
        """Decode all patches, (batch, *image_shape) in [0, 1]. No loss has trained the visible ones.

        Args:
            images: (batch, *image_shape) in [0, 1].
            patch_mask: see `call`.
        """
        images = ops.convert_to_tensor(images, "float32")
        patch_mask = self._draw_mask(images, False) if patch_mask is None else ops.convert_to_tensor(patch_mask, "bool")
        return self._reconstruct(images, patch_mask, False)[0]

    def visible_part(self, images: np.ndarray) -> np.ndarray:
        """Return the images with mid-gray in place of the patches that inference hides."""
        if not self.mask_ratio:
            return images
        return ops.convert_to_numpy(paste_visible(0.5, images, self.fixed_mask))

    def _draw_mask(self, images, training):
        rows, columns, _ = self.latent_shape
        batch = ops.shape(images)[0]
        if training:
            return random_patch_mask(batch, rows, columns, self.num_visible, self.seed_generator)
        return ops.broadcast_to(ops.convert_to_tensor(self.fixed_mask), (batch, rows, columns))

    def _reconstruct(self, images, patch_mask, training):
        """Compute decoded images and, with `normalize_target`, the normalised ones behind them."""
        latents = self.encode(images, training, patch_mask=patch_mask)
        if not self.normalize_target:
            return self.decode(latents, training=training), None
        normalized = ops.cast(self.decoder(latents, training=training), "float32")
        raw = denormalize_patches(normalized, images, patch_mask, self.patch_size)
        return in_range(raw, training), normalized

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Compute the loss, of normalised images in training with `normalize_target`."""
        if isinstance(y_pred, dict):
            y, y_pred = normalize_patches(y, self.patch_size), y_pred["normalized"]
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Compute the metrics of images."""
        return super().compute_metrics(x, y, y_pred["images"] if isinstance(y_pred, dict) else y_pred, sample_weight)

    def get_config(self):
        """Return the arguments of the constructor and the state of `ImageModel.get_config`."""
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "mask_ratio": self.mask_ratio,
            "normalize_target": self.normalize_target,
            "seed": self.seed,
        }
