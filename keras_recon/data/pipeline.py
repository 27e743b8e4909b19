import math
from itertools import chain

import numpy as np
import tensorflow as tf

from keras_recon.data.crops import RandomCrops, grid_crops
from keras_recon.data.photos import Photos
from keras_recon.data.shard import WHOLE, Shard
from keras_recon.degradations import Degradation, degrade
from keras_recon.images.pixels import to_float
from keras_recon.images.resize import resize_bicubic

VALIDATION_BYTES = 2**27  # of crops in memory


def training_batches(
    photos: Photos,
    image_shape: tuple[int, int, int],
    batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    seed: int,
    first_step: int = 0,
    degradation: Degradation | None = None,
    shard: Shard = WHOLE,
    quarter_turns: bool = False,
) -> tf.data.Dataset:
    """The batches of `epochs` epochs from `first_step` on, (degraded, clean) pairs of crops; for each step one.

    The batch of a step is the same whatever the step that the data set starts at, so that a resumed run sees the
    batches that an uninterrupted one would have seen. Without a degradation both of a pair are the clean crop. Of
    several processes, each has its `shard` of every batch, and reads no other photos.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> degradation = keras_recon.degradations.GaussianNoise(25)
    >>> batches = keras_recon.data.training_batches(
    ...     training, (64, 64, 3), batch_size=8, steps_per_epoch=100, epochs=3, seed=0, degradation=degradation
    ... )
    >>> noisy, clean = next(iter(batches))
    >>> noisy.shape, len(batches)
    ((8, 64, 64, 3), 300)
    """
    if batch_size % shard.all_replicas:
        raise ValueError(
            f"`batch_size` must be a multiple of the {shard.all_replicas} devices. Received: batch_size={batch_size}"
        )
    crops = RandomCrops(photos, image_shape[:2], seed, quarter_turns)
    per_epoch = steps_per_epoch * batch_size

    def crop(position):
        epoch, index = divmod(int(position), per_epoch)
        clean = crops(epoch, index)
        if degradation is None:
            return [clean]
        return [degradation(clean, np.random.default_rng((seed, 2, epoch, index))), clean]  # `crops` has streams 0, 1

    def tensors(position):
        # A pure function, so tf.data may run it in parallel and ahead of time under op determinism too.
        kinds = [tf.float32] * (1 if degradation is None else 2)
        images = tf.numpy_function(crop, [position], kinds, stateful=False)
        return tuple(tf.ensure_shape(image, image_shape) for image in images)

    positions = tf.data.Dataset.range(first_step * batch_size, epochs * per_epoch)
    part = batch_size // shard.count
    if shard.count > 1:
        positions = positions.filter(lambda position: position % batch_size // part == shard.index)
    return _pairs(positions.map(tensors, tf.data.AUTOTUNE), part)


def photos_of_step(
    photos: Photos, image_shape, batch_size: int, steps_per_epoch: int, seed: int, step: int
) -> list[str]:
    """The names of the photos that the batch of a step of `training_batches` was cut from, sorted.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.photos_of_step(training, (64, 64, 3), batch_size=2, steps_per_epoch=100, seed=0, step=7)
    ['cat', 'coins']
    """
    crops = RandomCrops(photos, image_shape[:2], seed)
    epoch, step = divmod(step, steps_per_epoch)
    return sorted({crops.photo(epoch, step * batch_size + i) for i in range(batch_size)})


def validation_batches(
    photos: Photos,
    image_shape: tuple[int, int, int],
    batch_size: int,
    limit: int = 512,
    degradation: Degradation | None = None,
) -> tf.data.Dataset:
    """(degraded, clean) pairs of the same crops in every epoch: at most `limit`, side by side, from all photos.

    They are degraded in the same way in every epoch and for every seed of a training.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> batches = keras_recon.data.validation_batches(validation, (64, 64, 3), batch_size=32)
    >>> sum(len(clean) for degraded, clean in batches)
    178
    """
    room = VALIDATION_BYTES // (4 * math.prod(image_shape))
    clean = grid_crops(photos, image_shape[:2], max(image_shape[:2]), max(1, min(limit, room)))
    images = (clean,) if degradation is None else (degrade(clean, degradation), clean)
    return _pairs(tf.data.Dataset.from_tensor_slices(images), batch_size)


def spread(batches: tf.data.Dataset, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(degraded, clean) arrays of `count` pairs of a finite data set of batches.

    Of each of `count` equal parts of the data set it is the pair with the most contrast, and no plain sky.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> batches = keras_recon.data.validation_batches(validation, (64, 64, 3), batch_size=32)
    >>> degraded, clean = keras_recon.data.spread(batches, count=6)
    >>> clean.shape
    (6, 64, 64, 3)
    """
    pairs = list(batches.unbatch().as_numpy_iterator())
    contrasts = np.array([clean.std(axis=(0, 1), dtype="float64").mean() for _, clean in pairs])
    parts = np.array_split(np.arange(len(pairs)), min(count, len(pairs)))
    chosen = [part[contrasts[part].argmax()] for part in parts]
    return tuple(np.stack(images) for images in zip(*(pairs[i] for i in chosen)))


def middle_photo(photos: Photos, longest: int) -> np.ndarray:
    """The photo in the middle of all, or the next one that can be used, float32 (height, width, channels) in [0, 1].

    Its longer side is scaled down to at most `longest` pixels.

    Example:

    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> keras_recon.data.middle_photo(validation, longest=300).shape
    (200, 300, 3)
    """

    def scaled(photo):
        scale = longest / max(photo.shape[:2])
        if scale >= 1:
            return to_float(photo)
        size = [max(1, round(side * scale)) for side in photo.shape[:2]]
        return np.clip(to_float(resize_bicubic(photo, size)), 0.0, 1.0)

    middle = len(photos) // 2
    return photos.first_good(chain(range(middle, len(photos)), range(middle)), scaled)


def shard_of(batches: tf.data.Dataset, batch_size: int, shard: Shard) -> tf.data.Dataset:
    """One process's shard of a finite data set of batches, in batches of its part of `batch_size`.

    The devices get equally many: at the end, fewer than there are devices are left out.

    Example:

    >>> from keras_recon.data.shard import Shard
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> batches = keras_recon.data.validation_batches(validation, (64, 64, 3), batch_size=32)
    >>> shard = keras_recon.data.shard_of(batches, batch_size=32, shard=Shard(index=1, count=2))
    >>> sum(len(clean) for degraded, clean in shard)
    89
    """
    if shard.all_replicas == 1:
        return batches
    even = batches.unbatch().batch(shard.all_replicas, drop_remainder=True).unbatch()
    return even.shard(shard.count, shard.index).batch(batch_size // shard.count).prefetch(tf.data.AUTOTUNE)


def _pairs(images: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches of (degraded, clean) pairs; a clean image alone, which is in memory once, is both."""
    return images.batch(batch_size).map(lambda *batch: (batch[0], batch[-1])).prefetch(tf.data.AUTOTUNE)
