from keras_recon.features.backbones import BackboneFeatures
from keras_recon.features.extractor import FeatureExtractor
from keras_recon.features.lpips import LPIPS
from keras_recon.features.perceptual import perceptual_distance
from keras_recon.features.photos import photo_features, photo_tiles

__all__ = ["LPIPS", "BackboneFeatures", "FeatureExtractor", "perceptual_distance", "photo_features", "photo_tiles"]
