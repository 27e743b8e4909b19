import numpy as np
import pytest
from contracts import check_layer
from keras import ops

from keras_recon.layers import LinearDecoder, TransformerDecoder

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
GRID = np.random.default_rng(0).standard_normal((2, 3, 2, 5)).astype("float32")


@pytest.mark.parametrize("decoder_class, sizes", [(LinearDecoder, {}), (TransformerDecoder, SIZES)])
def test_decoders(decoder_class, sizes):
    check_layer(decoder_class, {"patch_size": 4, "channels": 3, **sizes}, GRID, (2, 12, 8, 3))
    zeros = decoder_class(patch_size=4, channels=3, zero_init=True, **sizes)
    assert not ops.convert_to_numpy(zeros(GRID)).any()


def test_linear_decoder_puts_pixels_where_their_patch_is():
    layer = LinearDecoder(2, 1, zero_init=True)
    layer.build(GRID.shape)
    kernel = np.random.default_rng(1).standard_normal((5, 4)).astype("float32")
    layer.pixel_head.kernel.assign(kernel)
    outputs = ops.convert_to_numpy(layer(GRID))
    # The bottom left pixel of the patch in row 2 and column 1, divided by the 5 inputs.
    np.testing.assert_allclose(outputs[1, 5, 2, 0], GRID[1, 2, 1] @ kernel[:, 2] / 5, rtol=1e-5)
