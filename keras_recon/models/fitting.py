import math
from collections.abc import Iterable

import numpy as np
from keras import ops

from keras_recon.models.checked import check_range

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
