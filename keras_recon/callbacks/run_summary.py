from pathlib import Path

import keras
import numpy as np
from keras import ops

ERROR_GAIN = 5.0


class RunSummary(keras.callbacks.Callback):
    """Writes what a run is and what it sees to TensorBoard; needs TensorFlow.

    The configuration as text and in the HParams tab, a grid of validation images (clean, degraded where that differs,
    reconstruction, error five times enlarged) after every epoch.

    Args:
        log_dir: the run's folder.
        config: settings by name.
        images: (degraded, clean), a few validation images, arrays in [0, 1].
    """

    def __init__(self, log_dir: Path, config: dict, images: tuple[np.ndarray, np.ndarray]):
        super().__init__()
        self.log_dir = str(log_dir)
        self.config = config
        self.images = images

    def on_train_begin(self, logs=None):
        import tensorflow as tf
        from tensorboard.plugins.hparams import api as hp

        self._tf = tf
        self._writer = tf.summary.create_file_writer(self.log_dir)
        given = {key: value for key, value in self.config.items() if value is not None}
        hparams = {key: v if isinstance(v, (bool, int, float, str)) else str(v) for key, v in given.items()}
        rows = "".join(f"\n| {key} | {value} |" for key, value in hparams.items())
        with self._writer.as_default():
            hp.hparams_config(
                hparams=[hp.HParam(key) for key in hparams],
                metrics=[
                    hp.Metric("final/psnr", display_name="PSNR (dB)"),
                    hp.Metric("final/ssim", display_name="SSIM"),
                ],
            )
            hp.hparams(hparams, trial_id=str(self.config.get("run_name", self.log_dir)))  # what the table shows
            tf.summary.text("configuration", f"| setting | value |\n|---|---|{rows}", step=0)

    def on_epoch_end(self, epoch, logs=None):
        degraded, clean = self.images
        outputs = ops.convert_to_numpy(self.model(degraded, training=False))
        columns = [clean, outputs, np.clip(ERROR_GAIN * np.abs(clean - outputs), 0, 1)]
        if not np.array_equal(degraded, clean):
            columns.insert(1, degraded)
        grid = np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)
        channels = 3 if grid.shape[-1] >= 3 else 1
        with self._writer.as_default():
            self._tf.summary.image("reconstructions", grid[None, ..., :channels], step=epoch)

    def on_train_end(self, logs=None):
        self._writer.close()


def log_final(log_dir: Path, scores: dict[str, float]):
    """Write a finished run's scores to TensorBoard, where the HParams tab sorts runs by them; needs TensorFlow."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(log_dir)).as_default():
        for name, value in scores.items():
            tf.summary.scalar(f"final/{name}", value, step=0)
