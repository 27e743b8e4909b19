import numpy as np
import pytest
from anomaly.made_dataset import make_dataset
from PIL import Image

from keras_recon import anomaly


def test_images_are_found_with_kind_and_ground_truth(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    assert [image.kind for image in images] == ["good"] * 3 + ["hole"] * 2 + ["scratch"] * 2
    assert [image.mask((32, 32)).sum() for image in images] == [0] * 3 + [36] * 4
    with pytest.raises(ValueError, match="must have the size of its image"):
        images[-1].mask((16, 32))


def test_a_defect_is_whatever_the_ground_truth_has_above_0(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    expected = images[-1].mask((32, 32))
    for ones in (expected.astype("uint8"), expected.astype("uint16")):
        Image.fromarray(ones).save(images[-1].truth)
        np.testing.assert_array_equal(images[-1].mask((32, 32)), expected)
    Image.fromarray(ones * 0).save(images[-1].truth)
    with pytest.raises(ValueError, match=r"must mark a defect. Received: 0 everywhere"):
        images[-1].mask((32, 32))


def test_a_defect_without_ground_truth_and_a_folder_without_defects_are_refused(tmp_path):
    make_dataset(tmp_path / "a")
    (tmp_path / "a/ground_truth/hole/0.png").unlink()
    with pytest.raises(ValueError, match=r"no ground truth in .*hole for .*0\.png"):
        anomaly.load_images(tmp_path / "a")
    with pytest.raises(ValueError, match="defects in test/<kind>"):
        anomaly.load_images(make_dataset(tmp_path / "b", defects=()))
