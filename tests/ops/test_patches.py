import numpy as np
import pytest
from contracts import random_images
from keras import ops
from skimage.util import view_as_blocks

from keras_recon.ops import patchify, unpatchify


@pytest.mark.parametrize("shape", [(2, 8, 12, 3), (1, 8, 8, 1), (3, 4, 16, 5)])
def test_patches_are_the_blocks_of_the_image_and_go_back(shape):
    images = random_images(*shape)
    patches = ops.convert_to_numpy(patchify(ops.convert_to_tensor(images), 4))
    for image, image_patches in zip(images, patches):
        blocks = view_as_blocks(image, (4, 4, shape[-1]))[:, :, 0]  # (rows, columns, 4, 4, channels)
        np.testing.assert_array_equal(image_patches, blocks.reshape(*blocks.shape[:2], -1))
    np.testing.assert_array_equal(ops.convert_to_numpy(unpatchify(ops.convert_to_tensor(patches), 4)), images)
