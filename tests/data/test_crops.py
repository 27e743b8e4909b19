import numpy as np
import pytest

from keras_recon.data import Photos, RandomCrops, grid_crops
from keras_recon.data.crops import cover


def numbered(count, height=20, width=30):
    """Photo i is full of the value i."""
    return Photos(range(count), lambda i: np.full((height, width, 3), i, "uint8"))


def ramp():
    """A photo whose pixels tell where they are."""
    rows, columns = np.mgrid[:20, :30]
    return Photos(range(1), lambda _: np.stack([rows, columns, 0 * rows], axis=-1).astype("uint8"))


def test_a_crop_depends_on_seed_epoch_and_index_alone():
    crops = RandomCrops(ramp(), (8, 8), seed=3)
    first = [crops(epoch, index) for epoch in range(2) for index in range(5)]
    again = RandomCrops(ramp(), (8, 8), seed=3)
    other_order = [again(epoch, index) for epoch in (1, 0) for index in reversed(range(5))]
    np.testing.assert_array_equal(first, other_order[::-1])
    assert len({crop.tobytes() for crop in first}) > 7  # they differ from each other
    assert any((a != b).any() for a, b in zip(first, (RandomCrops(ramp(), (8, 8), seed=4)(0, i) for i in range(5))))


def test_every_photo_once_before_any_twice():
    crops = RandomCrops(numbered(7), (4, 4), seed=0)
    orders = [
        [round(crops(epoch, 7 * visit + i)[0, 0, 0] * 255) for i in range(7)] for epoch in (0, 1) for visit in (0, 1)
    ]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_crops_are_pieces_of_the_photo_half_of_them_flipped():
    crops = RandomCrops(ramp(), (8, 10), seed=0)
    flipped, corners = 0, set()
    for index in range(200):
        crop = np.rint(crops(0, index) * 255).astype(int)
        assert crop.shape == (8, 10, 3)
        flipped += crop[0, 0, 1] > crop[0, -1, 1]
        crop = crop[:, ::-1] if crop[0, 0, 1] > crop[0, -1, 1] else crop
        np.testing.assert_array_equal(crop[..., 0], crop[0, 0, 0] + np.arange(8)[:, None] + np.zeros(10))
        np.testing.assert_array_equal(crop[..., 1], crop[0, 0, 1] + np.arange(10) + np.zeros((8, 1)))
        corners.add(tuple(crop[0, 0, :2]))
    assert 70 < flipped < 130
    assert {row for row, _ in corners} == set(range(13)) and {c for _, c in corners} == set(range(21))


def test_grid():
    crops = np.rint(grid_crops(ramp(), (8, 8), stride=10) * 255)
    assert [tuple(crop[0, 0, :2]) for crop in crops] == [(0, 0), (0, 10), (0, 20), (10, 0), (10, 10), (10, 20)]
    assert crops.shape == (6, 8, 8, 3)


@pytest.mark.parametrize("limit", [None, 5])
def test_no_photos_are_refused(limit):
    with pytest.raises(ValueError, match="Received: 0 photos"):
        grid_crops(numbered(0), (8, 8), stride=8, limit=limit)


def test_a_limit_spreads_over_photos_and_grid():
    crops = np.rint(grid_crops(numbered(10, 64, 64), (8, 8), stride=8, limit=20) * 255)
    assert [int(crop[0, 0, 0]) for crop in crops] == [i // 2 for i in range(20)]
    crops = np.rint(grid_crops(numbered(10), (8, 8), stride=8, limit=5) * 255)
    assert [int(crop[0, 0, 0]) for crop in crops] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("shape", [(4, 6, 3), (20, 4, 1), (5, 40, 4)])
def test_small_photos_are_enlarged_to_cover_the_crop(shape):
    photo = np.full(shape, 100, "uint8")
    (large,) = cover((photo,), (8, 12))
    assert large.shape[0] >= 8 and large.shape[1] >= 12 and large.shape[2] == shape[2]
    np.testing.assert_allclose(large, 100 / 255, atol=1e-6)
    assert large.shape[0] / large.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.1)
    untouched = np.zeros((8, 12, 3), "uint8")
    assert cover((untouched,), (8, 12))[0] is untouched


def test_float_photos_stay_as_they_are():
    photo = np.random.default_rng(0).random((8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(grid_crops(Photos(range(1), lambda _: photo), (8, 8), stride=8)[0], photo)


def test_quarter_turns_are_drawn_beside_the_flips():
    photo = np.arange(64, dtype="uint8").reshape(8, 8, 1)
    photos = Photos(["a"], lambda key: photo)
    crops = RandomCrops(photos, (8, 8), seed=0, quarter_turns=True)
    seen = {(crops(0, i) * 255).round().astype("uint8").tobytes() for i in range(64)}
    turned = [np.rot90(flipped, k) for flipped in (photo, photo[:, ::-1]) for k in range(4)]
    assert seen == {np.ascontiguousarray(image).tobytes() for image in turned}
    with pytest.raises(ValueError, match=r"square crops. Received: size=\(8, 4\)"):
        RandomCrops(photos, (8, 4), seed=0, quarter_turns=True)
