import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import keras

from keras_recon.utils.files import save_weights


class TrainingBackup(keras.callbacks.Callback):
    """Keeps the whole training state (weights, optimizer, seeds) as of the last finished epoch, or of a later step.

    `keras.callbacks.BackupAndRestore` writes weights and epoch number to two files, so that a kill between the two
    resumes the wrong epoch; and it writes them before the callbacks behind it have seen the epoch's end. Here the
    steps are in the file's name, and the file is written when the next epoch begins. The one before it is kept too: a
    training may be diverging when an epoch ends.

    Args:
        directory: where `step-<steps>.weights.h5` stands.
        steps_per_epoch: training steps of an epoch.

    Attributes:
        steps: training steps that the model has behind it.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> backup = keras_recon.callbacks.TrainingBackup(tmp_path, steps_per_epoch=2)
    >>> history = model.fit(images, images, batch_size=2, epochs=3, verbose=0, callbacks=[backup])
    >>> sorted(path.name for path in tmp_path.iterdir())
    ['step-2.weights.h5', 'step-4.weights.h5']
    """

    def __init__(self, directory: Path, steps_per_epoch: int):
        super().__init__()
        self.directory = Path(directory)
        self.steps_per_epoch = steps_per_epoch
        self.steps = 0

    def _backups(self) -> list[tuple[int, Path]]:
        paths = self.directory.glob("step-*.weights.h5")
        return sorted((int(path.name.split(".")[0].removeprefix("step-")), path) for path in paths)

    def restore(self, model: keras.Model, oldest: bool = False) -> bool:
        """Load the last backup, or the oldest, into a compiled model; False if there is none."""
        backups = self._backups()
        if backups:
            self.steps, path = backups[0 if oldest else -1]
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
        return bool(backups)

    def save(self):
        """Back the model up as it is; backups of later steps go, and older ones but the last."""
        save_weights(self.model, self.directory / f"step-{self.steps}.weights.h5")
        backups = self._backups()
        kept = [path for steps, path in backups if steps <= self.steps][-2:]
        for _, path in backups:
            if path not in kept:
                path.unlink()

    def on_epoch_begin(self, epoch, logs=None):
        # A restored run may begin in the middle of its epoch.
        self._start = max(self.steps, epoch * self.steps_per_epoch)
        if self._start not in dict(self._backups()):
            self.save()

    def on_train_batch_end(self, batch, logs=None):
        self.steps = self._start + batch + 1


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A training was ended by a signal; `number` is the signal's, `steps` the training steps that are backed up.

    Example:

    >>> error = keras_recon.callbacks.Interrupted(15, steps=300)
    >>> print(error)
    ended by SIGTERM after 300 steps, which are backed up
    >>> 128 + error.number  # what a process that this signal ended has for its status
    143
    """

    def __init__(self, number: int, steps: int):
        super().__init__(f"ended by {signal.Signals(number).name} after {steps} steps, which are backed up")
        self.number = number
        self.steps = steps


class EndOnSignal(keras.callbacks.Callback):
    """Ends a training at SIGTERM (a preemption) or SIGINT (Ctrl-C) with a backup, after the running step or validation.

    A context manager around `fit`, which then raises `Interrupted`. A second signal acts as it would have without
    this. Outside of the main thread, where Python takes no signals, nothing changes.

    Args:
        backup: a callback that stands before this one.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> backup = keras_recon.callbacks.TrainingBackup(tmp_path, steps_per_epoch=2)
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> with keras_recon.callbacks.EndOnSignal(backup) as end_on_signal:  # from here, Ctrl-C loses nothing
    ...     history = model.fit(images, images, batch_size=2, verbose=0, callbacks=[backup, end_on_signal])
    >>> backup.steps
    2
    """

    def __init__(self, backup: TrainingBackup):
        super().__init__()
        self.backup = backup
        self._received = None
        self._handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *error):
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _receive(self, number, frame):
        self._received = number
        self.__exit__()

    def on_train_batch_end(self, batch, logs=None):
        self._end_if_received()

    def on_epoch_end(self, epoch, logs=None):  # one that came during the validation
        self._end_if_received()

    def _end_if_received(self):
        if self._received:
            self.backup.save()
            raise Interrupted(self._received, self.backup.steps)


EXPLOSION = 100.0  # times the lowest loss so far
LEAST_LOSS = 1e-6  # 60 dB: from there, a hundred times as much is no explosion yet


class Diverged(RuntimeError):
    """The training loss is NaN or infinite, or exploded.

    Example:

    >>> raise keras_recon.callbacks.Diverged("the loss came to nan in step 300")
    Traceback (most recent call last):
        ...
    keras_recon.callbacks.safeguards.Diverged: the loss came to nan in step 300
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
    keras_recon.callbacks.safeguards.Diverged: ... in step 1, epoch 1, of cat.png, dog.png
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
