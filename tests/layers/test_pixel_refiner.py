import numpy as np
import pytest
from contracts import check_layer, random_images
from keras import ops

from keras_recon.layers import PixelRefiner


@pytest.mark.parametrize("size", [(8, 12), (7, 6)])
def test_contract_and_a_start_at_zero(size):
    images = random_images(2, *size, 3)
    check_layer(PixelRefiner, {"filters": 6, "num_blocks": 1}, images, images.shape)
    assert not ops.convert_to_numpy(PixelRefiner(filters=6)(images)).any()


def test_pixels_stay_where_they_are():
    """A kernel that hands the middle through, at half the size: each pixel gets itself, not a neighbour."""
    layer = PixelRefiner(filters=12, num_blocks=1)
    images = 1 + random_images(2, 8, 6, 3)  # above 0: they pass the activation
    layer(images)
    middle = np.zeros((3, 3, 12, 12), "float32")
    middle[1, 1] = np.eye(12)
    for conv in (layer.embedding, layer.head):  # the block is the identity at first
        conv.kernel.assign(middle)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(images)), images / (9 * 12), rtol=1e-5)


def test_no_filters_are_refused():
    with pytest.raises(ValueError, match=r"at least 1\. Received: filters=0"):
        PixelRefiner(filters=0)
