import numpy as np
import pytest
from PIL import Image

from keras_recon import anomaly


def make_dataset(folder, defects=("hole", "scratch"), size=32):
    """Smooth images; those with a defect have a bright square, which their ground truth marks."""
    rng = np.random.default_rng(0)
    for part, count in (("train/good", 4), ("test/good", 3), *((f"test/{kind}", 2) for kind in defects)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            image = np.full((size, size), 100, "uint8") + rng.integers(0, 4, (size, size), "uint8")
            if part.startswith("test") and not part.endswith("good"):
                mask = np.zeros((size, size), "uint8")
                mask[8:14, 8:14] = 255
                image[mask > 0] = 250
                truth = folder / "ground_truth" / part.removeprefix("test/")
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth / (f"{i}_mask.png" if i else f"{i}.png"))
            Image.fromarray(image).save(folder / part / f"{i}.png")
    return folder


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
        anomaly.auroc(images, [np.zeros((32, 32))] * len(images))


def test_a_defect_without_ground_truth_and_a_folder_without_defects_are_refused(tmp_path):
    make_dataset(tmp_path / "a")
    (tmp_path / "a/ground_truth/hole/0.png").unlink()
    with pytest.raises(ValueError, match=r"no ground truth in .*hole for .*0\.png"):
        anomaly.load_images(tmp_path / "a")
    with pytest.raises(ValueError, match="defects in test/<kind>"):
        anomaly.load_images(make_dataset(tmp_path / "b", defects=()))


def test_the_error_map_is_the_smoothed_squared_error():
    image = np.zeros((21, 21, 3), "float32")
    reconstruction = image.copy()
    reconstruction[10, 10] = (0.3, 0.0, 0.6)
    errors = anomaly.error_map(image, reconstruction, sigma=2.0)
    assert errors.shape == (21, 21)
    assert errors.sum() == pytest.approx((0.3**2 + 0.6**2) / 3, rel=1e-3)  # smoothing keeps the sum
    assert errors[10, 10] / errors[10, 12] == pytest.approx(np.exp(2**2 / (2 * 2.0**2)), rel=1e-3)
    assert anomaly.image_score(errors) == pytest.approx(errors[10, 10])


def test_auroc_is_the_chance_that_a_defect_scores_above_a_good_one(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    levels = [0.1, 0.2, 0.3, 0.25, 0.9, 0.8, 0.7]  # good, good, good, hole, hole, scratch, scratch
    maps = [np.full((32, 32), level) for level in levels]
    results = anomaly.auroc(images, maps)
    good, bad = np.array(levels[:3]), np.array(levels[3:])
    assert results["image AUROC"] == pytest.approx((bad[:, None] > good).mean())
    assert results["hole"] == pytest.approx((bad[:2, None] > good).mean())
    assert results["scratch"] == 1.0
    perfect = [image.mask((32, 32)).astype("float32") for image in images]
    assert anomaly.auroc(images, perfect)["pixel AUROC"] == 1.0
