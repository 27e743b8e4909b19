"""Defects: what a model of good photos does not know, in its features or in what it reconstructs."""

from keras_recon.anomaly.classifier import DefectClassifier, Ensemble
from keras_recon.anomaly.dataset import GOOD, LabeledImage, load_images, save_heat_maps
from keras_recon.anomaly.decoder import FeatureDecoder
from keras_recon.anomaly.detector import METHODS, AnomalyDetector, Detection
from keras_recon.anomaly.distances import NearestPatch, PatchGaussian, PCAResidual, PositionGaussian
from keras_recon.anomaly.scores import aupro, auroc, error_map, image_score, intervals, scores, scores_by_kind
from keras_recon.anomaly.synthetic import synthetic_defect

__all__ = [
    "GOOD",
    "METHODS",
    "AnomalyDetector",
    "DefectClassifier",
    "Detection",
    "Ensemble",
    "FeatureDecoder",
    "LabeledImage",
    "NearestPatch",
    "PCAResidual",
    "PatchGaussian",
    "PositionGaussian",
    "aupro",
    "auroc",
    "error_map",
    "image_score",
    "intervals",
    "load_images",
    "save_heat_maps",
    "scores",
    "scores_by_kind",
    "synthetic_defect",
]
