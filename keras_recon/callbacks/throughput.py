import time

import keras

SPEED = ("seconds", "images_per_second")  # what it adds to the logs


class Throughput(keras.callbacks.Callback):
    """Adds to an epoch's logs its `seconds` in all and its training's `images_per_second` after the first step.

    Of an epoch of one step, or of one that goes on with its last, the first counts.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> throughput = keras_recon.callbacks.Throughput(batch_size=2)
    >>> history = model.fit(images, images, batch_size=2, verbose=0, callbacks=[throughput])
    >>> sorted(history.history)
    ['images_per_second', 'loss', 'seconds']
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:  # it may have compiled
            self._start = time.perf_counter()
        self._steps, self._end = batch, time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self._epoch_start
        steps, start = (self._steps, self._start) if self._steps else (1, self._epoch_start)
        logs["images_per_second"] = steps * self.batch_size / (self._end - start)
