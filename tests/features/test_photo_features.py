import numpy as np
import pytest
from contracts import outputs_of, random_images
from models.tiny_backbones import tiny_backbone
from PIL import Image

from keras_recon.features import FeatureExtractor, photo_features, photo_tiles
from keras_recon.features.extractor import tile_axes


@pytest.mark.parametrize(
    "shape, resized, counts",
    [
        ((40, 40), (16, 16), (1, 1)),
        ((20, 50), (16, 40), (1, 3)),
        ((30, 8), (60, 16), (5, 1)),
        ((8, 9), (16, 18), (1, 2)),
    ],
)
def test_the_aspect_ratio_is_kept(shape, resized, counts):
    axes = tile_axes(shape, 16)
    assert tuple(axis.length for axis in axes) == resized
    assert tuple(axis.count for axis in axes) == counts
    photo = random_images(1, *shape, 1)[0]
    tiles = photo_tiles(photo, 16)
    assert tiles.shape == (counts[0] * counts[1], 16, 16, 1)
    expected = Image.fromarray(photo[..., 0]).resize(resized[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_allclose(tiles[0, ..., 0], np.asarray(expected)[:16, :16], atol=1e-6)


def test_features_are_those_of_the_tiles_in_turn_and_read_again_from_the_disk(tmp_path):
    extractor = FeatureExtractor(tiny_backbone(), (1, 2))
    photos = [*random_images(2, 16, 40, 3), (255 * random_images(1, 20, 20, 3)[0]).astype("uint8")]
    features = photo_features(extractor, photos, batch_size=3)
    tiles = np.concatenate([photo_tiles(photo, 16) for photo in photos])
    assert features.dtype == np.float16
    np.testing.assert_allclose(features, outputs_of(extractor, tiles.astype("float32")), atol=2e-3)
    cached = photo_features(extractor, photos, cache=tmp_path / "features")
    np.testing.assert_allclose(cached, features, atol=2e-3)
    (file,) = (tmp_path / "features").iterdir()
    np.save(file, np.zeros((1, 2)))
    assert not photo_features(extractor, photos, cache=tmp_path / "features").any()  # read, not computed
    assert len(photo_features(FeatureExtractor(tiny_backbone(), (1, 2)), photos, cache=tmp_path / "features")) == 7
