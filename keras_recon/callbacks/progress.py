import time

import keras

SHOWN = ("loss", "psnr", "val_psnr")


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar in lines of at most 100 columns: loss and PSNR, and that of the validation.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse", metrics=[keras_recon.metrics.PSNR(), "mae"])
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, verbose=2, callbacks=[keras_recon.callbacks.ProgressBar()])
    1/1 - ... - loss: ... - psnr: ...
    """

    def _update_progbar(self, batch, logs=None):
        super()._update_progbar(batch, _shown(logs))

    def _finalize_progbar(self, logs):
        super()._finalize_progbar(_shown(logs))


def _shown(logs):
    return {name: logs[name] for name in SHOWN if name in (logs or {})}


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


class SwapEMAWeights(keras.callbacks.SwapEMAWeights):
    """Validates and saves with the averaged weights, and trains on from them: for `LayerwiseAdamW(use_ema=True)`.

    An epoch, and a later `fit`, begin with the averaged weights of the one before, much as in "Switch EMA" (Li et al.,
    2024), while their average begins with the trained ones. With Keras's callback an epoch goes on from the trained
    weights: after 600 steps a ViT reached 0.05 dB less so. And on TensorFlow, Keras swaps by adding and subtracting,
    which rounds, so that a resumed run drifts from an uninterrupted one; this swaps by copying on every backend.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile(keras_recon.optimizers.LayerwiseAdamW(use_ema=True, ema_momentum=0.9), "mse")
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, verbose=0, callbacks=[keras_recon.callbacks.SwapEMAWeights()])
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:  # which stays False, so that no epoch begins by swapping back
            self._swap_variables()

    def _tf_swap_variables(self, optimizer):
        self._backend_swap_variables(optimizer)
