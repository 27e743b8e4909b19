"""What `pipeline` makes with TensorFlow, without it: the same batches."""

from collections.abc import Callable

import keras
import numpy as np

from keras_recon.data.pairs import RandomPairs, grid_pairs
from keras_recon.data.photos import Photos
from keras_recon.degradations import Degradation

THREADS = 4  # that make batches while the model trains


class Batches(keras.utils.PyDataset):
    """`batch(epoch, step)` for each step of an epoch; Keras says when it ends, and the next one begins."""

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
        self.epoch += 1


def epoch_batches(pairs: RandomPairs, batch_size: int, steps_per_epoch: int) -> Batches:
    """The batches of one epoch, of the next one after `on_epoch_end`."""

    def batch(epoch, step):
        return pairs.batch(epoch, step * batch_size, batch_size)

    return Batches(batch, steps_per_epoch, THREADS)


def validation_batches(
    photos: Photos, image_shape: tuple[int, int, int], batch_size: int, degradation: Degradation | None = None
) -> Batches:
    """(degraded, clean) pairs of the same crops in every epoch."""
    degraded, clean = grid_pairs(photos, image_shape, degradation=degradation)

    def batch(_, step):
        of_step = slice(step * batch_size, (step + 1) * batch_size)
        return degraded[of_step], clean[of_step]

    return Batches(batch, -(-len(clean) // batch_size), threads=1)
