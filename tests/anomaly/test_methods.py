import numpy as np
import pytest
import sklearn.neighbors
from keras import ops
from sklearn.metrics import roc_auc_score

from keras_recon.anomaly import (
    DefectClassifier,
    Ensemble,
    NearestPatch,
    PatchGaussian,
    PositionGaussian,
)
from keras_recon.anomaly.methods import greedy_coreset


@pytest.fixture
def features():
    """Of few directions, and others to score."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((3, 8))
    good = rng.standard_normal((30, 4, 5, 3)) @ directions + 0.05 * rng.standard_normal((30, 4, 5, 8)) + 1
    return good.astype("float32"), rng.standard_normal((6, 4, 5, 8)).astype("float32")


def test_the_nearest_patch_is_that_of_scikit_learn(features):
    good, other = features
    method = NearestPatch(patches=1000)  # all 600 of them
    method.adapt(good)
    neighbours = sklearn.neighbors.NearestNeighbors(n_neighbors=1).fit(good.reshape(-1, 8))
    expected = neighbours.kneighbors(other.reshape(-1, 8))[0][:, 0]
    np.testing.assert_allclose(ops.convert_to_numpy(method(other)).ravel(), expected, rtol=1e-3)


def test_a_greedy_coreset_covers_better_than_chance():
    rng = np.random.default_rng(0)
    patches = np.concatenate([rng.standard_normal((950, 4)), 20 + rng.standard_normal((50, 4))]).astype("float32")
    chosen = greedy_coreset(patches, 40)
    assert len({*chosen}) == 40

    def radius(indices):
        return sklearn.neighbors.NearestNeighbors(n_neighbors=1).fit(patches[indices]).kneighbors(patches)[0].max()

    assert radius(chosen) < 0.8 * min(radius(rng.choice(1000, 40, replace=False)) for _ in range(10))


def test_the_gaussian_distance_is_mahalanobis_at_each_position(features):
    good, other = features
    method = PositionGaussian(features=8)
    method.adapt(good)
    distances = ops.convert_to_numpy(method(other))
    for row, column in ((0, 0), (3, 4)):
        covariance = np.cov(good[:, row, column][:, method.chosen], rowvar=False)
        covariance += 0.01 * np.trace(covariance) / 8 * np.eye(8)
        apart = other[:, row, column][:, method.chosen] - good[:, row, column][:, method.chosen].mean(axis=0)
        expected = np.sqrt(np.einsum("bi,ij,bj->b", apart, np.linalg.inv(covariance), apart))
        np.testing.assert_allclose(distances[:, row, column], expected, rtol=1e-3)


def test_the_distance_of_all_patches_is_mahalanobis(features):
    good, other = features
    method = PatchGaussian()
    method.adapt(good)
    patches = good.reshape(-1, 8)
    covariance = np.cov(patches, rowvar=False)
    covariance += 0.01 * np.trace(covariance) / 8 * np.eye(8)
    apart = other.reshape(-1, 8) - patches.mean(axis=0)
    expected = np.sqrt(np.einsum("bi,ij,bj->b", apart, np.linalg.inv(covariance), apart))
    np.testing.assert_allclose(ops.convert_to_numpy(method(other)).ravel(), expected, rtol=1e-3)


def test_a_classifier_tells_what_it_learnt_from_what_is_good(features):
    good, _ = features
    shares = np.zeros(good.shape[:3], "float32")
    shares[:, 1:3, 2] = 0.5
    shares[:, 0, 0] = 0.05  # neither
    damaged = good + np.float32([2, -2, 0, 0, 0, 0, 0, 0]) * (shares > 0)[..., None]
    method = DefectClassifier(hidden_dim=16, steps=60, learning_rate=1e-2)
    method.adapt(good[:20], damaged[:20], shares[:20])
    scores = ops.convert_to_numpy(method(damaged[20:]))
    assert roc_auc_score(shares[20:].ravel() >= 0.5, scores.ravel()) > 0.95
    known = ops.convert_to_numpy(method(good[:20]))
    assert abs(known.mean()) < 1e-3 and abs(known.std() - 1) < 1e-3
    with pytest.raises(ValueError, match="`shares` must mark a defect"):
        method.adapt(good, damaged, 0 * shares)


def test_an_ensemble_adds_distances_in_standard_deviations_of_good_ones(features):
    good, other = features
    method = Ensemble([PatchGaussian(), NearestPatch(100)], weights=[2, 1])
    assert not method.learns_defects and Ensemble().learns_defects
    method.adapt(good)
    parts = [[ops.convert_to_numpy(each(patches)) for patches in (good, other)] for each in method.methods]
    expected = sum(weight * b / a.std() for weight, (a, b) in zip((2, 1), parts))
    np.testing.assert_allclose(ops.convert_to_numpy(method(other)), expected, rtol=1e-4)
    assert Ensemble([NearestPatch(1)] * 4).shares == [3, 1, 1, 1]
