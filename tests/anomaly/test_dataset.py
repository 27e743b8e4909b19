import pytest
from anomaly.made_dataset import make_dataset

from keras_recon import anomaly


def test_images_are_found_with_kind_and_ground_truth(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    assert [image.kind for image in images] == ["good"] * 3 + ["hole"] * 2 + ["scratch"] * 2
    assert [image.mask((32, 32)).sum() for image in images] == [0] * 3 + [36] * 4
    with pytest.raises(ValueError, match="must have the size of its image"):
        images[-1].mask((16, 32))


def test_a_defect_without_ground_truth_and_a_folder_without_defects_are_refused(tmp_path):
    make_dataset(tmp_path / "a")
    (tmp_path / "a/ground_truth/hole/0.png").unlink()
    with pytest.raises(ValueError, match=r"no ground truth in .*hole for .*0\.png"):
        anomaly.load_images(tmp_path / "a")
    with pytest.raises(ValueError, match="defects in test/<kind>"):
        anomaly.load_images(make_dataset(tmp_path / "b", defects=()))
