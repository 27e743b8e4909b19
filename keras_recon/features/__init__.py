"""Features of pretrained backbones, and perceptual distances of images."""

from keras_recon.features.backbones import BackboneFeatures
from keras_recon.features.extractor import FeatureExtractor, photo_features, photo_tiles
from keras_recon.features.perceptual import LPIPS, perceptual_distance

__all__ = ["LPIPS", "BackboneFeatures", "FeatureExtractor", "perceptual_distance", "photo_features", "photo_tiles"]
