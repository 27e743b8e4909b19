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
    """A reconstructor that can hide patches from its encoder, a masked autoencoder (He et al., 2022).

        images -> visible patches -> encoder -> head -> latents, mask tokens between -> decoder -> hidden patches

    The encoder runs only on the visible patches. The decoder finds one trained token in place of the hidden ones'
    latents. Visible patches of the output are the input's own, so that any loss is one of the hidden patches. In
    training each image draws its own mask; in inference one fixed mask hides the same patches of every image. Without a
    `mask_ratio` nothing of this happens.

    Subclasses have an `encoder` that takes patches and the indices of the visible ones, as `layers.Transformer` does.

    Args:
        image_shape, patch_size, latent_dim, linear_path: see `Reconstructor`. The linear path decodes a hidden patch,
            at first, to PCA's mean patch.
        mask_ratio: share of the patches that are hidden, in [0, 1); 0 for none.
        normalize_target: whether the network predicts patches of mean 0 and standard deviation 1, as He et al. do for
            better features. The loss in training is then one of normalised images. Images are made with statistics of
            the visible patches, see `denormalize_patches`; from latents alone they cannot be.
        seed: of the masks in training.

    Attributes:
        num_visible: number of patches that stay visible.
        fixed_mask: boolean (1, rows, columns), True where inference hides a patch; None without a `mask_ratio`.

    Example:

    >>> model = keras_recon.models.ViTReconstructor(image_shape=(32, 32, 3), patch_size=8, mask_ratio=0.75)
    >>> model.num_visible, model.fixed_mask.shape
    (4, (1, 4, 4))
    >>> images = np.random.rand(2, 32, 32, 3).astype("float32")
    >>> outputs = keras.ops.convert_to_numpy(model(images))
    >>> float((outputs == images).mean())  # the visible quarter is the images' own
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
        super().build(input_shape)
        self.encoder.build(self.patches_shape)
        if self.mask_ratio:
            self.mask_token.build((None, None, self.latent_dim))

    @property
    def is_masked(self) -> bool:
        return self.mask_ratio > 0

    @property
    def decodes_latents(self) -> bool:
        return not self.normalize_target

    def features(self, images, patches, visible=None, training=None):
        """Features of all patches, or (batch, num_visible, values) of those with the indices `visible`."""
        return self.encoder(centered(patches), visible, training=training)

    def encode(self, images, patch_mask=None, training=None):
        """Latents (batch, *latent_shape) of images (batch, *image_shape).

        All patches are encoded, or with a `patch_mask` (batch, rows, columns) those where it is not True; the others
        have the mask token.
        """
        if patch_mask is None:
            return super().encode(images, training=training)
        images = self.checked(images)
        visible = visible_indices(patch_mask, self._count_visible(patch_mask))
        patches = patchify(images, self.patch_size)
        features = self.features(images, patches, visible, training=training)  # (batch, num_visible, hidden_dim)
        patches = ops.reshape(patches, (-1, patches.shape[1] * patches.shape[2], patches.shape[3]))
        return self.mask_token(self.to_latents(take_tokens(patches, visible), features), patch_mask)

    def decode(self, latents, training=None):
        if self.normalize_target:
            raise ValueError("Normalised patches alone are no image: call the model. Received: normalize_target=True")
        return super().decode(latents, training=training)

    def call(self, images, patch_mask=None, training=None):
        """Reconstructions; of a masked model the images, with their hidden patches reconstructed.

        Args:
            images: (batch, *image_shape) in [0, 1].
            patch_mask: boolean (batch, rows, columns), True where a patch is hidden, as many in every image; if None,
                drawn in training and `fixed_mask` otherwise. In a compiled function, where nobody can count, it must
                leave `num_visible` patches visible.

        Returns:
            Images; in training with `normalize_target`, these as `"images"` and, for the loss, `"normalized"` ones.
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
        """What the decoder makes of all patches, (batch, *image_shape) in [0, 1]; no loss has trained the visible ones.

        Args:
            images: (batch, *image_shape) in [0, 1].
            patch_mask: as in `call`.
        """
        images = ops.convert_to_tensor(images, "float32")
        patch_mask = self._draw_mask(images, False) if patch_mask is None else ops.convert_to_tensor(patch_mask, "bool")
        return self._reconstruct(images, patch_mask, False)[0]

    def visible_part(self, images: np.ndarray) -> np.ndarray:
        """What inference sees of images, with gray in place of hidden patches."""
        if not self.mask_ratio:
            return images
        return ops.convert_to_numpy(paste_visible(0.5, images, self.fixed_mask))

    def _draw_mask(self, images, training):
        rows, columns, _ = self.latent_shape
        batch = ops.shape(images)[0]
        if training:
            return random_patch_mask(batch, rows, columns, self.num_visible, self.seed_generator)
        return ops.broadcast_to(ops.convert_to_tensor(self.fixed_mask), (batch, rows, columns))

    def _count_visible(self, patch_mask) -> int:
        if not self.mask_ratio or tuple(patch_mask.shape[1:]) != self.latent_shape[:2]:
            raise ValueError(
                f"`patch_mask` must be (batch, {self.latent_shape[0]}, {self.latent_shape[1]}), for a model with a "
                f"`mask_ratio`. Received: patch_mask of shape {tuple(patch_mask.shape)}, mask_ratio={self.mask_ratio}"
            )
        return count_visible(patch_mask) or self.num_visible

    def _reconstruct(self, images, patch_mask, training):
        """Images as decoded, and the normalised ones behind them, if any."""
        latents = self.encode(images, patch_mask, training=training)
        if not self.normalize_target:
            return self.decode(latents, training=training), None
        normalized = ops.cast(self.decoder(latents, training=training), "float32")
        raw = denormalize_patches(normalized, images, patch_mask, self.patch_size)
        return in_range(raw, training), normalized

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if isinstance(y_pred, dict):
            y, y_pred = normalize_patches(y, self.patch_size), y_pred["normalized"]
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["images"] if isinstance(y_pred, dict) else y_pred, sample_weight)

    def get_config(self):
        return {
            **super().get_config(),
            "mask_ratio": self.mask_ratio,
            "normalize_target": self.normalize_target,
            "seed": self.seed,
        }
