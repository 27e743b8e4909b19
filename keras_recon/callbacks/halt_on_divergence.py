import math
from collections.abc import Callable

import keras

from keras_recon.callbacks.training_backup import TrainingBackup

EXPLOSION = 100.0  # times the lowest loss so far
LEAST_LOSS = 1e-6  # 60 dB: from there, a hundred times as much is no explosion yet


class Diverged(RuntimeError):
    """The training loss is NaN or infinite, or exploded.

    Example:

    >>> raise keras_recon.callbacks.Diverged("the loss came to nan in step 300")
    Traceback (most recent call last):
        ...
    keras_recon.callbacks.halt_on_divergence.Diverged: the loss came to nan in step 300
    """


class HaltOnDivergence(keras.callbacks.Callback):
    """Raises `Diverged` where the mean loss of an epoch is NaN or infinite, or a hundred times its lowest.

    Like `keras.callbacks.TerminateOnNaN`, but it says what diverged and where, and sees explosions too.

    Args:
        backup: a callback that stands before this one.
        names: `names(step)`, what the batch of a training step, from 1 on, was made of.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> backup = keras_recon.callbacks.TrainingBackup(tmp_path, steps_per_epoch=1)
    >>> halt = keras_recon.callbacks.HaltOnDivergence(backup, names=lambda step: ["cat.png", "dog.png"])
    >>> images = np.full((2, 8, 8, 3), np.nan)
    >>> model.fit(images, images, verbose=0, callbacks=[backup, halt])
    Traceback (most recent call last):
        ...
    keras_recon.callbacks.halt_on_divergence.Diverged: ... in step 1, epoch 1, of cat.png, dog.png
    """

    def __init__(self, backup: TrainingBackup, names: Callable[[int], list[str]]):
        super().__init__()
        self.backup = backup
        self.names = names
        self._lowest = math.inf

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not (math.isfinite(loss) and loss <= EXPLOSION * self._lowest):
            step = self.backup.steps
            epoch = (step - 1) // self.backup.steps_per_epoch + 1
            names = ", ".join(self.names(step))
            raise Diverged(
                f"the training diverged: the loss came to {loss:g} in step {step}, epoch {epoch}, of {names}"
            )
        self._lowest = max(LEAST_LOSS, min(self._lowest, loss))
