from keras_recon.ops.lapped import inverse_lapped_transform, lapped_transform
from keras_recon.ops.masking import (
    count_visible,
    fixed_patch_mask,
    paste_visible,
    random_patch_mask,
    take_tokens,
    visible_indices,
)
from keras_recon.ops.patch_statistics import denormalize_patches, normalize_patches
from keras_recon.ops.patches import patchify, unpatchify

__all__ = [
    "count_visible",
    "denormalize_patches",
    "fixed_patch_mask",
    "inverse_lapped_transform",
    "lapped_transform",
    "normalize_patches",
    "paste_visible",
    "patchify",
    "random_patch_mask",
    "take_tokens",
    "unpatchify",
    "visible_indices",
]
