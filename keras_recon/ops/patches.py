from keras import ops


def patchify(images, patch_size: int):
    """Cut images (batch, height, width, channels) into non-overlapping square patches.

    Returns (batch, height / patch_size, width / patch_size, patch_size * patch_size * channels).

    Example:

    >>> patchify(np.zeros((2, 32, 48, 3)), patch_size=8).shape
    (2, 4, 6, 192)
    """
    if patch_size == 1:  # Keras refuses blocks of one pixel
        return images
    return ops.space_to_depth(images, patch_size, data_format="channels_last")


def unpatchify(patches, patch_size: int):
    """Put patches (batch, rows, columns, patch_size * patch_size * channels) back together: patchify's inverse.

    Example:

    >>> unpatchify(np.zeros((2, 4, 6, 192)), patch_size=8).shape
    (2, 32, 48, 3)
    """
    if patch_size == 1:
        return patches
    return ops.depth_to_space(patches, patch_size, data_format="channels_last")
