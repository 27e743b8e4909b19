import keras

SHOWN = ("loss", "psnr", "val_psnr", "val_ssim")


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar in lines of at most 100 columns: loss and PSNR, and PSNR and SSIM of the validation."""

    def _update_progbar(self, batch, logs=None):
        super()._update_progbar(batch, _shown(logs))

    def _finalize_progbar(self, logs):
        super()._finalize_progbar(_shown(logs))


def _shown(logs):
    return {name: logs[name] for name in SHOWN if name in (logs or {})}
