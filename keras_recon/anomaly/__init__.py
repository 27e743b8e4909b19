"""Anomaly detection with features of a pretrained backbone, or with errors of a reconstruction."""

from keras_recon.anomaly.auroc import aupro, auroc, error_map, image_score, intervals, scores
from keras_recon.anomaly.detector import METHODS, AnomalyDetector, Detection
from keras_recon.anomaly.methods import DefectClassifier, Ensemble, NearestPatch, PatchGaussian, PositionGaussian
from keras_recon.anomaly.mvtec import GOOD, LabeledImage, load_images, save_heat_maps
from keras_recon.anomaly.synthetic import synthetic_defect

__all__ = [
    "GOOD",
    "METHODS",
    "AnomalyDetector",
    "DefectClassifier",
    "Detection",
    "Ensemble",
    "LabeledImage",
    "NearestPatch",
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
    "synthetic_defect",
]
