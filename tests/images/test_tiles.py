import numpy as np
import pytest

from keras_recon.images.tiles import Axis, blend, cut


@pytest.mark.parametrize("length", [1, 5, 8, 9, 16, 23, 100])
@pytest.mark.parametrize("overlap", [0, 1, 2, 4])
def test_weights_rise_as_sin2_and_add_up_to_one(length, overlap):
    axis = Axis(length, tile=8, overlap=overlap)
    weights = axis.weights()
    total = np.zeros(axis.end)
    for i, tile in enumerate(weights):
        total[i * axis.stride : i * axis.stride + 8] += tile
    np.testing.assert_allclose(total, 1, atol=1e-7)
    assert axis.end >= length > axis.end - axis.stride or axis.count == 1
    if axis.count > 1:
        expected = [np.sin(np.pi * (2 * i + 1) / (4 * overlap)) ** 2 for i in range(overlap)]
        np.testing.assert_allclose(weights[1, :overlap], expected, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_mirroring_is_numpys_symmetric_padding(length):
    padded = np.pad(np.arange(length), (0, 20), mode="symmetric")
    np.testing.assert_array_equal(Axis(length, 4, 1).pixels(0, length + 20), padded)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 6), (21, 17)])
@pytest.mark.parametrize("overlaps", [(0, 0), (4, 3), (2, 1)])
def test_tiles_blend_back_to_the_image(size, overlaps):
    image = np.random.default_rng(0).random((*size, 2), "float32")
    rows, columns = Axis(size[0], 8, overlaps[0]), Axis(size[1], 6, overlaps[1])
    tiles = list(cut(image, rows, columns))
    assert len(tiles) == rows.count * columns.count and {tile.shape for tile in tiles} == {(8, 6, 2)}
    np.testing.assert_allclose(np.concatenate(list(blend(tiles, rows, columns))), image, atol=1e-6)
