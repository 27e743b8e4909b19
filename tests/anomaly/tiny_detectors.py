"""Detectors on random backbones, small enough for tests."""

from models.tiny_backbones import tiny_backbone

from keras_recon.anomaly import AnomalyDetector
from keras_recon.features import FeatureExtractor


def tiny_extractor(family="vit", image_shape=(16, 16, 3)) -> FeatureExtractor:
    channels = image_shape[-1]
    return FeatureExtractor(tiny_backbone(family, image_shape), (0, 2), (0.5,) * channels, (0.5,) * channels)


def tiny_detector(method="pca", **kwargs) -> AnomalyDetector:
    return AnomalyDetector(tiny_extractor(**kwargs), method)
