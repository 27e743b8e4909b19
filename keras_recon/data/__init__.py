import importlib

from keras_recon.data.crops import RandomCrops, grid_crops, middle_parts, middle_photo, photo_grids, photos_of_step
from keras_recon.data.loading import load
from keras_recon.data.pairs import RandomPairs, grid_pairs, spread
from keras_recon.data.photos import Photos, read_photo
from keras_recon.data.sources import folder_photos, load_photos

__all__ = [
    "Photos",
    "RandomCrops",
    "RandomPairs",
    "folder_photos",
    "grid_crops",
    "grid_pairs",
    "load",
    "load_photos",
    "middle_parts",
    "middle_photo",
    "photo_grids",
    "photos_of_step",
    "read_photo",
    "shard_of",
    "spread",
    "training_batches",
    "validation_batches",
]
# What needs TensorFlow is imported when it is used.
_LAZY = ("shard_of", "training_batches", "validation_batches")


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'keras_recon.data' has no attribute {name!r}")
    return getattr(importlib.import_module("keras_recon.data.batches"), name)
