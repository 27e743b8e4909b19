import numpy as np
import pytest
from anomaly.made_dataset import make_dataset

from keras_recon import anomaly


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
