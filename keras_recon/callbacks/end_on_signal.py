import signal
import threading

import keras

from keras_recon.callbacks.training_backup import TrainingBackup

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
