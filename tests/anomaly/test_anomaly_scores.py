import numpy as np
import pytest
from anomaly.made_dataset import make_dataset
from sklearn.metrics import roc_auc_score

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


def test_pixel_auroc_is_that_of_scikit_learn(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    maps = rough_maps(images)  # with ties
    masks = np.concatenate([image.mask((32, 32)).ravel() for image in images])
    expected = roc_auc_score(masks, np.concatenate(maps).ravel())
    assert anomaly.auroc(images, maps)["pixel AUROC"] == pytest.approx(expected, abs=1e-12)


def rough_maps(images, seed=0):
    """What a weak detector would say: the ground truth behind noise, of few values, so that ties occur."""
    rng = np.random.default_rng(seed)
    return [np.round(2 * image.mask((32, 32)) + 2 * rng.standard_normal((32, 32))) for image in images]


def test_aupro_is_the_area_under_the_curve_of_overlaps_threshold_by_threshold(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    maps = rough_maps(images)
    masks = [image.mask((32, 32)) for image in images]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        overlaps = [(m >= threshold)[mask].mean() for m, mask in zip(maps, masks) if mask.any()]
        false = np.concatenate([(m >= threshold)[~mask] for m, mask in zip(maps, masks)]).mean()
        points.append((false, np.mean(overlaps)))
    false, overlap = np.array(points).T
    grid = np.linspace(0, 0.3, 30_001)
    assert anomaly.aupro(images, maps) == pytest.approx(np.interp(grid, false, overlap).mean(), abs=1e-4)
    assert anomaly.aupro(images, [mask.astype("float32") for mask in masks]) == pytest.approx(1.0)
    assert anomaly.aupro(images, [np.zeros((32, 32)) for _ in masks]) == pytest.approx(0.15)


def test_two_defects_count_alike_whatever_their_sizes(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    mask = np.zeros((32, 32), bool)
    mask[:10, :10] = mask[20, 20] = True
    image = type("", (), {"kind": "hole", "mask": lambda self, shape: mask})()
    found_small, found_large = (np.zeros((32, 32)) for _ in range(2))
    found_small[20, 20] = found_large[:10, :10] = 1
    small, large = (anomaly.aupro([image, images[0]], [m, np.zeros((32, 32))]) for m in (found_small, found_large))
    assert small == pytest.approx(large) == pytest.approx(0.575)  # half at once, the other half as by guessing


def test_f1_and_false_alarms_at_a_threshold(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    levels = [0.1, 0.2, 0.3, 0.25, 0.9, 0.8, 0.1]
    results = anomaly.scores(images, [np.full((32, 32), level) for level in levels], threshold=0.22)
    assert results["F1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))  # 3 found, 1 false alarm, 1 missed
    assert results["false alarms"] == pytest.approx(1 / 3)
    assert "F1" not in anomaly.scores(images, rough_maps(images))


def test_intervals_hold_the_figures_and_narrow_with_more_images(tmp_path):
    images = anomaly.load_images(make_dataset(tmp_path))
    few = images, rough_maps(images)
    many = images * 20, [m for seed in range(20) for m in rough_maps(images, seed)]
    widths = []
    for found in (few, many):
        results, of = anomaly.scores(*found), anomaly.intervals(*found, samples=200)
        for name, (low, high) in of.items():
            assert low - 1e-3 <= results[name] <= high + 1e-3
        widths.append(of["pixel AUROC"][1] - of["pixel AUROC"][0])
    assert widths[1] < widths[0] / 2
