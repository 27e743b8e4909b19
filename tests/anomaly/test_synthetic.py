import numpy as np
import pytest

from keras_recon.anomaly import synthetic
from keras_recon.anomaly.synthetic import KINDS, damaged_photos, synthetic_defect


def photo(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.3, 0.9, shape).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 48, 3), (9, 200, 1), (160, 150, 4)])
def test_a_defect_is_where_its_mask_says(kind, shape, monkeypatch):
    monkeypatch.setattr(synthetic, "KINDS", (kind,))
    good = photo(shape)
    for seed in range(8):
        damaged, mask = synthetic_defect(good, photo((20, 30, shape[-1]), 1), np.random.default_rng(seed))
        assert damaged.shape == shape and mask.shape == shape[:2] and mask.any()
        assert damaged.dtype == np.float32 and damaged.min() >= 0 and damaged.max() <= 1
        change = np.abs(damaged - good).max(axis=-1)
        # Edges are blurred; what is pasted may be like what was there.
        assert change[mask].mean() > 10 * change[~mask].mean()
        if kind in KINDS[:2]:
            assert (damaged <= good + 1e-6).all()


def test_the_same_seed_draws_the_same_defect():
    good, other = photo((64, 64, 3)), photo((64, 64, 3), 1)
    drawn = [synthetic_defect(good, other, np.random.default_rng(seed))[0] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_photos_keep_their_dtype_and_shares_are_of_patches():
    photos = [photo((64, 64, 3)), (65535 * photo((64, 160, 3), 1)).astype("uint16")]
    damaged, shares = damaged_photos(photos, tile=64, patch=16)
    assert [d.dtype for d in damaged] == ["float32", "uint16"] and [d.shape for d in damaged] == [
        p.shape for p in photos
    ]
    assert shares.shape == (4, 4, 4) and shares.min() == 0 and 0 < shares.max() <= 1
    # A square photo is one tile as it is.
    change = np.abs(damaged[0] - photos[0]).max(axis=-1).reshape(4, 16, 4, 16).mean(axis=(1, 3))
    assert np.corrcoef(change.ravel(), shares[0].ravel())[0, 1] > 0.7


def test_a_photo_too_small_for_a_defect_is_refused():
    with pytest.raises(ValueError, match=r"must be large enough .* shape \(1, 1, 3\)"):
        synthetic_defect(photo((1, 1, 3)), photo((9, 9, 3)), np.random.default_rng(0))
