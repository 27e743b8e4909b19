"""Batches of (degraded, clean) crops: `tf.data.Dataset`s, or the same as `PyDataset`s without TensorFlow."""

import importlib.util
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np

from keras_recon.data.crops import RandomPairs, grid_pairs
from keras_recon.data.photos import Photos
from keras_recon.degradations import Degradation
from keras_recon.images.reading import JPEGHeader, turned

if TYPE_CHECKING:
    import tensorflow as tf

# Pixels around a window that are decoded too: the decoder interpolates the colours of a pixel from its neighbours, but
# not in images of fewer than five columns.
MARGIN = 4
IN_ONE_CALL = 64  # pairs
THREADS = os.cpu_count() + 1  # that make batches with TensorFlow; one may wait for a file
AUTOTUNE = -1  # as `tf.data.AUTOTUNE`
PYTHON_THREADS = 4  # that make batches without it


class Shard(NamedTuple):
    """The part of each batch that a process works on.

    Attributes:
        index: of the process; process 0 is the chief, which writes.
        count: number of processes.
        replicas: number of devices of this process that get different images.

    Example:
    >>> Shard(index=1, count=2, replicas=4).all_replicas
    8
    """

    index: int = 0
    count: int = 1
    replicas: int = 1

    @property
    def all_replicas(self) -> int:
        """The number of devices of all processes."""
        return self.count * self.replicas


WHOLE = Shard()


class Batches(keras.utils.PyDataset):
    """A data set of `batch(epoch, step)` for each step; Keras begins the next epoch by `on_epoch_end`.

    Args:
        batch: returns a batch; threads call it.
        steps: batches per epoch.
        threads: number of threads that make batches while the model trains.

    Example:
    >>> batches = Batches(lambda epoch, step: (np.full((4, 1), step), np.full((4, 1), epoch)), steps=3, threads=1)
    >>> int(batches[2][0].max()), len(batches)
    (2, 3)
    """

    def __init__(self, batch: Callable[[int, int], tuple], steps: int, threads: int):
        super().__init__(workers=threads)
        self.batch = batch
        self.steps = steps
        self.epoch = 0

    def __len__(self):
        return self.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(self.epoch, step)

    def on_epoch_end(self):
        """Begin the next epoch."""
        self.epoch += 1


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
) -> "tf.data.Dataset":
    """Create a `tf.data.Dataset` of the batches of a training, see `RandomPairs`.

    The batch of a step does not depend on the step at which the data set starts. A resumed run therefore sees the
    batches of an uninterrupted run.

    Args:
        photos: photos or pairs of photos.
        image_shape: (height, width, channels) of the degraded crops.
        batch_size: pairs per batch, a multiple of the number of devices.
        steps_per_epoch: batches per epoch.
        epochs: number of epochs.
        seed: of the crops and their degradations, an integer from 0.
        first_step: number of batches that are left out at the start.
        degradation: makes the degraded crops, which are the clean ones if None.
        shard: the part of every batch that this process makes; it reads no other photos.
        quarter_turns: whether crops, which must be square, are also rotated by 0, 90, 180 or 270 degrees.

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
    import tensorflow as tf

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


def epoch_batches(pairs: RandomPairs, batch_size: int, steps_per_epoch: int) -> "tf.data.Dataset | Batches":
    """Create a data set of the batches of one epoch: of epoch 0 in the first iteration, then of epoch 1, and so on."""
    if not _has_tensorflow():
        threads = PYTHON_THREADS
        return Batches(lambda epoch, i: pairs.batch(epoch, i * batch_size, batch_size), steps_per_epoch, threads)
    import tensorflow as tf

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
) -> "tf.data.Dataset | Batches":
    """Create a data set of the (degraded, clean) crops of `grid_pairs`, the same in every epoch and for every seed.

    Args:
        photos: photos or pairs of photos.
        image_shape: (height, width, channels) of the degraded crops.
        batch_size: pairs per batch; the last batch can have fewer.
        limit: maximum number of pairs.
        degradation: makes the degraded crops, which are the clean ones if None.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> batches = keras_recon.data.validation_batches(validation, (64, 64, 3), batch_size=32)
    >>> sum(len(clean) for degraded, clean in batches)
    178
    """
    degraded, clean = grid_pairs(photos, image_shape, limit, degradation)
    if not _has_tensorflow():
        starts = range(0, len(clean), batch_size)
        batches = [tuple(images[start : start + batch_size] for images in (degraded, clean)) for start in starts]
        return Batches(lambda epoch, step: batches[step], len(batches), threads=1)
    import tensorflow as tf

    images = (clean,) if degraded is clean else (degraded, clean)
    return _both(tf.data.Dataset.from_tensor_slices(images).batch(batch_size))


def shard_of(batches: "tf.data.Dataset", batch_size: int, shard: Shard) -> "tf.data.Dataset":
    """Return one process's shard of a finite data set of batches, in batches of its part of `batch_size`.

    All devices get the same number of images: the last images, if they are fewer than the devices, are left out.

    Example:
    >>> from keras_recon.data.batches import Shard
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> batches = keras_recon.data.validation_batches(validation, (64, 64, 3), batch_size=32)
    >>> shard = keras_recon.data.shard_of(batches, batch_size=32, shard=Shard(index=1, count=2))
    >>> sum(len(clean) for degraded, clean in shard)
    89
    """
    if shard.all_replicas == 1:
        return batches
    even = batches.unbatch().batch(shard.all_replicas, drop_remainder=True).unbatch()
    return even.shard(shard.count, shard.index).batch(batch_size // shard.count).prefetch(AUTOTUNE)


def decode_window(
    path: str | Path, header: JPEGHeader, corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Decode a window of a JPEG file by TensorFlow, to the same pixels as the whole file.

    Args:
        path: of the file.
        header: of the file, from `keras_recon.images.reading.jpeg_header`.
        corner: (top, left) of the window in the upright photo.
        size: (height, width) of the window, which lies inside of the photo.

    Returns:
        uint8 (height, width, 1 or 3); None if the file cannot be read.

    Example:
    >>> pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), "uint8")
    >>> keras_recon.images.write_image("a.jpg", keras_recon.images.ImageFile(pixels))
    >>> header = keras_recon.images.reading.jpeg_header("a.jpg")
    >>> window = decode_window("a.jpg", header, corner=(10, 20), size=(16, 24))
    >>> bool((window == keras_recon.data.read_photo("a.jpg", 3)[10:26, 20:44]).all())
    True
    """
    import tensorflow as tf

    (top, left), (height, width) = header.as_stored(corner, size)
    above, before = min(top, MARGIN), min(left, MARGIN)
    bottom, right = (min(have, end + MARGIN) for have, end in zip(header.stored, (top + height, left + width)))
    box = [top - above, left - before, bottom - top + above, right - left + before]
    try:
        with open(os.fspath(path), "rb") as file:
            data = file.read()
        pixels = tf.raw_ops.DecodeAndCropJpeg(
            contents=data, crop_window=np.array(box, "int32"), channels=0, dct_method="INTEGER_ACCURATE"
        ).numpy()
    except (OSError, tf.errors.OpError):
        return None
    return turned(pixels[above : above + height, before : before + width], header.orientation)


def _has_tensorflow():
    return importlib.util.find_spec("tensorflow") is not None


def _random_batches(pairs: RandomPairs, starts: "tf.data.Dataset", per_epoch: int, batch_size: int):
    """Batches of the pairs that begin at `starts`, which are counted over all epochs."""
    import tensorflow as tf

    # A thread makes a part of a batch, so that the batches in progress take little memory.
    part = max(count for count in range(1, IN_ONE_CALL + 1) if batch_size % count == 0)

    def images(start):
        epoch, index = divmod(int(start), per_epoch)
        return list(pairs.batch(epoch, index, part, decode_window)[-len(pairs.shapes) :])

    def tensors(start):
        # A pure function: tf.data may run it in parallel and ahead of time, under op determinism too.
        made = tf.numpy_function(images, [start], [tf.float32] * len(pairs.shapes), stateful=False)
        return tuple(tf.ensure_shape(images, (part, *shape)) for images, shape in zip(made, pairs.shapes))

    if part < batch_size:
        starts = starts.flat_map(lambda start: tf.data.Dataset.range(start, start + batch_size, part))
    batches = starts.map(tensors, THREADS)
    if part < batch_size:
        batches = batches.batch(batch_size // part).map(
            lambda *images: tuple(tf.reshape(of_part, (batch_size, *of_part.shape[2:])) for of_part in images)
        )
    return _both(batches)


def _both(batches: "tf.data.Dataset"):
    """Batches of (degraded, clean) pairs; equal images are in memory once."""
    return batches.map(lambda *batch: (batch[0], batch[-1])).prefetch(AUTOTUNE)
