"""Callbacks for interruptions and divergence: backups, signals and a check of the loss."""

import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import keras

from keras_recon.utils.files import save_weights


class TrainingBackup(keras.callbacks.Callback):
    """Backs up the whole training state: weights, optimizer and seeds.

    A backup is the file `step-<steps>.weights.h5`, written atomically when the next epoch begins. The last two are
    kept, because a training may already diverge when an epoch ends. `keras.callbacks.BackupAndRestore` writes weights
    and epoch number to two files, so a process killed in between resumes the wrong epoch. It also writes them before
    later callbacks have seen the end of the epoch.

    Args:
        directory: the folder of the backups.
        steps_per_epoch: training steps per epoch.

    Attributes:
        steps: number of steps that the model was trained for.

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
        """Load a backup into a compiled model.

        Args:
            model: a model like the one that was backed up, compiled alike.
            oldest: whether to load the oldest backup instead of the last one.

        Returns:
            Whether there was a backup.
        """
        backups = self._backups()
        if backups:
            self.steps, path = backups[0 if oldest else -1]
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
        return bool(backups)

    def save(self):
        """Back up the model now; delete backups of later steps, and older ones except the last."""
        save_weights(self.model, self.directory / f"step-{self.steps}.weights.h5")
        backups = self._backups()
        kept = [path for steps, path in backups if steps <= self.steps][-2:]
        for _, path in backups:
            if path not in kept:
                path.unlink()

    def on_epoch_begin(self, epoch, logs=None):
        # A restored run may start inside an epoch.
        self._start = max(self.steps, epoch * self.steps_per_epoch)
        if self._start not in dict(self._backups()):
            self.save()

    def on_train_batch_end(self, batch, logs=None):
        self.steps = self._start + batch + 1


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A signal ended the training.

    Args:
        number: number of the signal.
        steps: training steps that are backed up.

    Example:
    >>> error = keras_recon.callbacks.Interrupted(15, steps=300)
    >>> print(error)
    ended by SIGTERM after 300 steps, which are backed up
    >>> 128 + error.number  # the exit status of a process that this signal ends
    143
    """

    def __init__(self, number: int, steps: int):
        super().__init__(f"ended by {signal.Signals(number).name} after {steps} steps, which are backed up")
        self.number = number
        self.steps = steps


class EndOnSignal(keras.callbacks.Callback):
    """Ends a training with a backup at SIGTERM (preemption) or SIGINT (Ctrl-C), after the current step or validation.

    It is also a context manager: use it around `fit`, which raises `Interrupted` after a signal. A second signal acts
    as it does without this callback. In other threads than the main one, Python handles no signals and nothing changes.

    Args:
        backup: the backup, which must precede this callback in the list of callbacks.

    Example:
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> backup = keras_recon.callbacks.TrainingBackup(tmp_path, steps_per_epoch=2)
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> with keras_recon.callbacks.EndOnSignal(backup) as end_on_signal:  # Ctrl-C loses no step
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
        if self._received:
            self.backup.save()
            raise Interrupted(self._received, self.backup.steps)

    on_epoch_end = on_train_batch_end  # for signals during the validation


EXPLOSION = 100.0  # ratio of an exploded loss to the lowest loss so far
LEAST_LOSS = 1e-6  # 60 dB; a lower loss counts as this one, since a hundred times as much would still be good


class Diverged(RuntimeError):
    """The training loss is NaN, infinite, or has exploded.

    Example:
    >>> raise keras_recon.callbacks.Diverged("the loss came to nan in step 300")
    Traceback (most recent call last):
        ...
    keras_recon.callbacks.safeguards.Diverged: the loss came to nan in step 300
    """


class HaltOnDivergence(keras.callbacks.Callback):
    """Raises `Diverged` if the mean loss of an epoch is NaN, infinite, or a hundred times its lowest value.

    In contrast to `keras.callbacks.TerminateOnNaN`, it detects explosions and names the step and its photos.

    Args:
        backup: the backup, which must precede this callback in the list of callbacks.
        names: `names(step)` returns the names of the photos in the batch of a training step, counted from 1.

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
