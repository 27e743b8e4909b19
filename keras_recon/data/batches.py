"""Windows of photos, by decoding little more than them: of JPEG files, whose pixels are those of a decoding in full."""

import os
from itertools import count
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_recon.data.pairs import RandomPairs, grid_pairs
from keras_recon.data.photos import Photos
from keras_recon.data.shard import WHOLE, Shard
from keras_recon.degradations import Degradation
from keras_recon.images.reading import JPEGHeader, turned

# Pixels around the window that are decoded too: the decoder interpolates the colours of a pixel by its neighbours, and
# not at all where there are less than five columns.
MARGIN = 4


def decode_window(
    path: str | Path, header: JPEGHeader, corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """The pixels of a window of an upright photo, uint8 (height, width, 1 or 3); None where that fails.

    Args:
        path: of the file.
        header: what `keras_recon.images.reading.jpeg_header` says of it.
        corner: (top, left) of the window.
        size: (height, width) of the window, which is inside of the photo.

    Example:

    >>> pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), "uint8")
    >>> keras_recon.images.write_image("a.jpg", keras_recon.images.ImageFile(pixels))
    >>> header = keras_recon.images.reading.jpeg_header("a.jpg")
    >>> window = decode_window("a.jpg", header, corner=(10, 20), size=(16, 24))
    >>> bool((window == keras_recon.data.read_photo("a.jpg", 3)[10:26, 20:44]).all())
    True
    """
    (top, left), (height, width) = header.as_stored(corner, size)
    above, before = min(top, MARGIN), min(left, MARGIN)
    box = [top - above, left - before]
    box += [
        min(header.stored[0], top + height + MARGIN) - box[0],
        min(header.stored[1], left + width + MARGIN) - box[1],
    ]
    try:
        with open(os.fspath(path), "rb") as file:
            data = file.read()
        pixels = tf.raw_ops.DecodeAndCropJpeg(
            contents=data, crop_window=np.array(box, "int32"), channels=0, dct_method="INTEGER_ACCURATE"
        ).numpy()
    except (OSError, tf.errors.OpError):
        return None
    return turned(pixels[above : above + height, before : before + width], header.orientation)


IN_ONE_CALL = 64  # pairs
THREADS = os.cpu_count() + 1  # that make batches: one may wait for a file


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
    pairs = RandomPairs(photos, image_shape, seed, degradation, quarter_turns)
    per_epoch = steps_per_epoch * batch_size
    part = batch_size // shard.count
    first = first_step * batch_size + shard.index * part
    starts = tf.data.Dataset.range(first, epochs * per_epoch, batch_size)
    return _random_batches(pairs, starts, per_epoch, part)


def epoch_batches(pairs: RandomPairs, batch_size: int, steps_per_epoch: int) -> tf.data.Dataset:
    """The batches of one epoch: at the first iteration those of epoch 0, at the next one those of epoch 1."""
    epochs = count()
    per_epoch = steps_per_epoch * batch_size
    epoch = tf.data.Dataset.from_generator(lambda: [next(epochs)], output_signature=tf.TensorSpec((), tf.int64))
    starts = epoch.flat_map(lambda epoch: tf.data.Dataset.range(epoch * per_epoch, (epoch + 1) * per_epoch, batch_size))
    batches = _random_batches(pairs, starts, per_epoch, batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(steps_per_epoch))


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
    degraded, clean = grid_pairs(photos, image_shape, limit, degradation)
    images = (clean,) if degraded is clean else (degraded, clean)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    return _both(batches).prefetch(tf.data.AUTOTUNE)


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


def _random_batches(pairs: RandomPairs, starts: tf.data.Dataset, per_epoch: int, batch_size: int) -> tf.data.Dataset:
    """Batches of the pairs that begin at `starts`, which go on from epoch to epoch."""
    # A thread makes a part of a batch, so that all that they make at a time takes little memory.
    part = max(count for count in range(1, IN_ONE_CALL + 1) if batch_size % count == 0)

    def images(start):
        epoch, index = divmod(int(start), per_epoch)
        return list(pairs.batch(epoch, index, part, decode_window)[-len(pairs.shapes) :])

    def tensors(start):
        # A pure function, so tf.data may run it in parallel and ahead of time under op determinism too.
        made = tf.numpy_function(images, [start], [tf.float32] * len(pairs.shapes), stateful=False)
        return tuple(tf.ensure_shape(images, (part, *shape)) for images, shape in zip(made, pairs.shapes))

    if part < batch_size:
        starts = starts.flat_map(lambda start: tf.data.Dataset.range(start, start + batch_size, part))
    batches = starts.map(tensors, THREADS)
    if part < batch_size:
        batches = batches.batch(batch_size // part).map(
            lambda *images: tuple(tf.reshape(of_part, (batch_size, *of_part.shape[2:])) for of_part in images)
        )
    return _both(batches).prefetch(tf.data.AUTOTUNE)


def _both(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of (degraded, clean) pairs; a clean image alone, which is in memory once, is both."""
    return batches.map(lambda *batch: (batch[0], batch[-1]))
