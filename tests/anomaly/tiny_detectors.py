"""Detectors on random backbones, small enough for tests."""

from models.tiny_backbones import tiny_backbone

from keras_recon.anomaly import AnomalyDetector, DefectClassifier, Ensemble, NearestPatch, PatchGaussian
from keras_recon.features import FeatureExtractor


def tiny_extractor(family="vit", image_shape=(16, 16, 3)) -> FeatureExtractor:
    channels = image_shape[-1]
    return FeatureExtractor(tiny_backbone(family, image_shape), (0, 2), (0.5,) * channels, (0.5,) * channels)


def short_classifier() -> DefectClassifier:
    return DefectClassifier(hidden_dim=16, steps=100, learning_rate=1e-2)


SHORT = {  # instead of minutes of training
    "classifier": short_classifier,
    "ensemble": lambda: Ensemble([short_classifier(), NearestPatch(500), PatchGaussian()]),
}


def tiny_detector(method="nearest", **kwargs) -> AnomalyDetector:
    return AnomalyDetector(tiny_extractor(**kwargs), SHORT[method]() if method in SHORT else method)
