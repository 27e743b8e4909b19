import math

import numpy as np
import tensorflow as tf

from keras_recon.data.crops import RandomCrops, grid_crops
from keras_recon.data.photos import Photos

VALIDATION_BYTES = 2**27  # of crops in memory


def training_batches(
    photos: Photos,
    image_shape: tuple[int, int, int],
    batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    seed: int,
    initial_epoch: int = 0,
) -> tf.data.Dataset:
    """`steps_per_epoch` batches for each epoch from `initial_epoch` to `epochs`, (degraded, clean) pairs of crops.

    Batch k of an epoch is the same whatever the epoch that the data set starts at, so that a resumed run sees the
    batches that an uninterrupted one would have seen.
    """
    crops = RandomCrops(photos, image_shape[:2], seed)
    per_epoch = steps_per_epoch * batch_size

    def crop(position):
        # A pure function, so tf.data may run it in parallel and ahead of time under op determinism too.
        image = tf.numpy_function(lambda p: crops(*divmod(int(p), per_epoch)), [position], tf.float32, stateful=False)
        return tf.ensure_shape(image, image_shape)

    images = tf.data.Dataset.range(initial_epoch * per_epoch, epochs * per_epoch).map(crop, tf.data.AUTOTUNE)
    return _pairs(images, batch_size)


def validation_batches(photos: Photos, image_shape: tuple[int, int, int], batch_size: int, limit: int = 512):
    """(degraded, clean) pairs of the same crops in every epoch: at most `limit`, side by side, from all photos."""
    room = VALIDATION_BYTES // (4 * math.prod(image_shape))
    images = grid_crops(photos, image_shape[:2], max(image_shape[:2]), max(1, min(limit, room)))
    return _pairs(tf.data.Dataset.from_tensor_slices(images), batch_size)


def spread(batches: tf.data.Dataset, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(degraded, clean) arrays of `count` pairs, spread evenly over a finite data set of batches."""
    pairs = list(batches.unbatch().as_numpy_iterator())
    chosen = np.linspace(0, len(pairs), min(count, len(pairs)), endpoint=False).astype(int)
    return tuple(np.stack(images) for images in zip(*(pairs[i] for i in chosen)))


def _pairs(images: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    return images.batch(batch_size).map(lambda clean: (clean, clean)).prefetch(tf.data.AUTOTUNE)
