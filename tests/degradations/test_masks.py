import numpy as np
import pytest
import scipy.ndimage

from keras_recon.degradations import BlockMask, FreeFormMask, GridMask, PatchMask

MASKS = [PatchMask(0.75, 16), BlockMask(0.3, 4), FreeFormMask(0.2), GridMask(np.eye(3, dtype=bool))]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("degradation", MASKS, ids=str)
def test_a_call_hides_the_pixels_of_the_mask_with_0_5(degradation):
    image = rng(1).random((50, 70, 3), "float32")
    for seed in range(3):
        hidden = degradation.mask((50, 70), rng(seed))
        assert hidden.shape == (50, 70) and hidden.dtype == bool and 0 < hidden.mean() < 1
        degraded = degradation(image, rng(seed))
        assert (degraded[hidden] == 0.5).all()
        np.testing.assert_array_equal(degraded[~hidden], image[~hidden])


def test_patches_are_whole_and_as_many_as_the_ratio_says():
    counts = np.zeros((4, 6))
    for seed in range(400):
        hidden = PatchMask(0.75, 8).mask((32, 48), rng(seed))
        patches = hidden.reshape(4, 8, 6, 8).mean(axis=(1, 3))
        assert set(np.unique(patches)) == {0, 1} and patches.sum() == 18
        counts += patches
    assert counts.min() > 250 and counts.max() < 350  # each patch in three of four masks
    assert PatchMask(1, 8).mask((9, 9), rng()).all() and not PatchMask(0, 8).mask((9, 9), rng()).any()


@pytest.mark.parametrize("shape", [(64, 64), (64, 96), (30, 100)])
@pytest.mark.parametrize("ratio", [0.25, 0.9])
def test_a_block_is_one_rectangle_of_about_its_ratio(shape, ratio):
    shares, places = [], set()
    for seed in range(200):
        hidden = BlockMask(ratio, 2).mask(shape, rng(seed))
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(hidden.mean())
        places.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert np.abs(np.array(shares) - ratio).max() < 0.05
    assert len(places) > 3


def test_a_block_of_everything_and_of_nothing():
    assert BlockMask(1, 8).mask((20, 30), rng()).all() and not BlockMask(0, 8).mask((20, 30), rng()).any()


def test_a_grid_is_stretched_over_the_image():
    grid = np.array([[True, False], [False, True]])
    expected = np.kron(grid, np.ones((8, 10), bool))
    np.testing.assert_array_equal(GridMask(grid).mask((16, 20), rng()), expected)
    pixels = rng().random((16, 20)) > 0.5
    np.testing.assert_array_equal(GridMask(pixels).mask((16, 20), rng()), pixels)


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_strokes_are_thick_connected_and_of_their_ratio(size, ratio):
    for seed in range(20):
        hidden = FreeFormMask(ratio).mask((size, size), rng(seed))
        assert ratio <= hidden.mean() < ratio + 0.08  # a segment is cut nowhere
        # No crumbs: every part is at least about as large as the thinnest brush's disc, 12/256 of the side wide.
        _, count = scipy.ndimage.label(hidden, np.ones((3, 3)))
        assert count < 12
        assert scipy.ndimage.distance_transform_edt(np.pad(hidden, 1)).max() >= 12 / 256 * size / 2 - 1


def test_strokes_cover_all_places_alike():
    mean = np.mean([FreeFormMask(0.3).mask((64, 64), rng(seed)) for seed in range(300)], axis=0)
    quarters = mean.reshape(2, 32, 2, 32).mean(axis=(1, 3))
    np.testing.assert_allclose(quarters, 0.31, atol=0.05)
