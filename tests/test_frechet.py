import numpy as np
import pytest
import scipy.linalg
from contracts import outputs_of, random_images
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

from keras_recon.features import FeatureExtractor
from keras_recon.metrics import FrechetDistance, frechet_distance


def scipys(mean, covariance, other_mean, other_covariance):
    root = scipy.linalg.sqrtm(covariance @ other_covariance)
    return ((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance - 2 * root.real)


def gaussian(seed, size=12):
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((size, size)) * np.geomspace(1, 1e-2, size)
    return rng.standard_normal(size), factor @ factor.T


def test_of_gaussians_is_scipys():
    moments = [*gaussian(0), *gaussian(1)]
    assert float(frechet_distance(*moments)) == pytest.approx(scipys(*moments), rel=1e-4)


def test_of_diagonal_gaussians_is_the_closed_form():
    deviations, others = np.geomspace(1, 1e-3, 200), np.geomspace(0.9, 1e-3, 200)
    distance = float(frechet_distance(np.ones(200), np.diag(deviations**2), np.zeros(200), np.diag(others**2)))
    assert distance == pytest.approx(200 + ((deviations - others) ** 2).sum(), rel=1e-5)
    mean, covariance = gaussian(2, 200)
    assert float(frechet_distance(mean, covariance, mean, covariance)) < 1e-4 * np.trace(covariance)


def test_moments_are_those_of_all_images_whatever_the_batches(tmp_path):
    folder = str(save_as_hugging_face(tiny_backbone(), tmp_path / "tiny"))
    y_true, y_pred = random_images(50, 16, 16, 3, seed=1), random_images(50, 16, 16, 3, seed=2)
    metric = FrechetDistance(folder, depth=2)
    for part in (slice(0, 1), slice(1, 20), slice(20, 50)):
        metric.update_state(y_true[part], y_pred[part])
    extractor = FeatureExtractor.from_preset(folder, depths=(2,))
    features = [outputs_of(extractor, images).mean((1, 2)).astype("float64") for images in (y_true, y_pred)]
    expected = scipys(*(f(x) for x in features for f in (lambda x: x.mean(0), lambda x: np.cov(x.T))))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-3)
    metric.reset_state()
    metric.update_state(y_true, y_true)
    assert float(metric.result()) < 1e-3 * expected


def test_its_name_has_the_backbone_and_the_last_block(tmp_path):
    folder = save_as_hugging_face(tiny_backbone(), tmp_path / "deit-tiny.16")
    metric = FrechetDistance(folder)
    assert (metric.name, metric.num_features) == ("frechet_deit_tiny_3", 8)
    assert FrechetDistance(folder, depth=0).name == "frechet_deit_tiny_0"
    folder.rename(tmp_path / "elsewhere")
    assert FrechetDistance.from_config(metric.get_config()).name == metric.name
