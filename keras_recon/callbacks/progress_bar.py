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
