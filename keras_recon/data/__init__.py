"""Photos and the batches of crops that models are trained and evaluated with."""

from keras_recon.data.batches import shard_of, training_batches, validation_batches
from keras_recon.data.crops import (
    RandomCrops,
    RandomPairs,
    grid_crops,
    grid_pairs,
    middle_parts,
    middle_photo,
    photo_grids,
    photos_of_step,
    spread,
)
from keras_recon.data.loading import folder_photos, load, load_photos
from keras_recon.data.photos import Photos, read_photo

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
