from keras_recon.data.crops import RandomCrops, grid_crops, photo_grids
from keras_recon.data.photos import Photos, read_photo
from keras_recon.data.pipeline import (
    middle_photo,
    photos_of_step,
    shard_of,
    spread,
    training_batches,
    validation_batches,
)
from keras_recon.data.sources import folder_photos, load_photos

__all__ = [
    "Photos",
    "RandomCrops",
    "folder_photos",
    "grid_crops",
    "load_photos",
    "middle_photo",
    "photo_grids",
    "photos_of_step",
    "read_photo",
    "shard_of",
    "spread",
    "training_batches",
    "validation_batches",
]
