"""What keeps a training from being lost: backups, an orderly end at a signal, a halt before a divergence is saved."""

import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import keras

EXPLOSION = 100.0  # times the lowest loss so far
LEAST_LOSS = 1e-6  # 60 dB: from there, a hundred times as much is no explosion yet
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A training was ended by a signal; `number` is the signal's, `steps` the training steps that are backed up."""

    def __init__(self, number: int, steps: int):
        super().__init__(f"ended by {signal.Signals(number).name} after {steps} steps, which are backed up")
        self.number = number
        self.steps = steps


class Diverged(RuntimeError):
    """The training loss is no number any more, or exploded."""


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
        self.model.save_weights(self.directory / f"step-{self.steps}.weights.h5")
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


class EndOnSignal(keras.callbacks.Callback):
    """Ends a training at SIGTERM (a preemption) or SIGINT (Ctrl-C): after the running step, with a backup.

    A context manager around `fit`, which then raises `Interrupted`. A second signal acts as it would have without
    this. Outside of the main thread, where Python takes no signals, nothing changes.

    Args:
        backup: a callback that stands before this one.
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


class HaltOnDivergence(keras.callbacks.Callback):
    """Raises `Diverged` where the mean loss of an epoch is no number, or rises a hundredfold above its lowest value.

    Like `keras.callbacks.TerminateOnNaN`, but it says what diverged and where, and sees explosions too.

    Args:
        backup: a callback that stands before this one.
        names: `names(step)`, what the batch of a training step, from 1 on, was made of.
    """

    def __init__(self, backup: TrainingBackup, names: Callable[[int], list[str]]):
        super().__init__()
        self.backup = backup
        self.names = names
        self._lowest = math.inf

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not loss <= EXPLOSION * self._lowest:  # nor if it is no number
            step = self.backup.steps
            epoch = (step - 1) // self.backup.steps_per_epoch + 1
            raise Diverged(f"the loss came to {loss:g} in step {step}, epoch {epoch}, of {', '.join(self.names(step))}")
        self._lowest = max(LEAST_LOSS, min(self._lowest, loss))
