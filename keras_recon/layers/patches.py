from keras import ops


def patchify(images, patch_size: int):
    """Cut images (batch, height, width, channels) into non-overlapping square patches.

    Returns (batch, height / patch_size, width / patch_size, patch_size * patch_size * channels).
    """
    height, width, channels = images.shape[1:]
    gh, gw = height // patch_size, width // patch_size
    x = ops.reshape(images, (-1, gh, patch_size, gw, patch_size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (batch, gh, gw, patch, patch, channels)
    return ops.reshape(x, (-1, gh, gw, patch_size * patch_size * channels))


def unpatchify(patches, patch_size: int):
    """Put patches (batch, gh, gw, patch_size * patch_size * channels) back together: patchify's inverse."""
    gh, gw, values = patches.shape[1:]
    channels = values // patch_size**2
    x = ops.reshape(patches, (-1, gh, gw, patch_size, patch_size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (batch, gh, patch, gw, patch, channels)
    return ops.reshape(x, (-1, gh * patch_size, gw * patch_size, channels))
