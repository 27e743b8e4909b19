from pathlib import Path

import keras


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
