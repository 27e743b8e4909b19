import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon.optimizers import without_loss_scaling

ERROR_GAIN = 5.0


class GradualUnfreezing(keras.callbacks.Callback):
    """Frees a pretrained backbone from its last block to its first, one more after every `epochs_per_block` epochs.

    From "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder, 2018). Needs a model compiled
    with `keras_recon.optimizers.LayerwiseAdamW`. The gradients of the frozen blocks are computed all the same.

    Args:
        epochs_per_block: epochs.
        num_layers: blocks of the backbone; what comes before them is freed last.
    """

    def __init__(self, epochs_per_block: int, num_layers: int):
        super().__init__()
        self.epochs_per_block = epochs_per_block
        self.num_layers = num_layers

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = without_loss_scaling(self.model.optimizer)
        optimizer.frozen_below.assign(max(0, self.num_layers + 1 - epoch // self.epochs_per_block))


class SwapEMAWeights(keras.callbacks.SwapEMAWeights):
    """Validates and saves with the averaged weights; needs a `LayerwiseAdamW` with `use_ema=True`.

    On TensorFlow, Keras swaps by adding and subtracting, which rounds, so that a resumed run drifts from an
    uninterrupted one. This swaps by copying on every backend. And Keras gives the trained weights up for the averaged
    ones when `fit` ends; here they stay in the optimizer, and the next `fit` goes on with them.
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:
            self._swap_variables()

    def _tf_swap_variables(self, optimizer):
        self._backend_swap_variables(optimizer)


class Throughput(keras.callbacks.Callback):
    """Adds to an epoch's logs its `seconds` in all and its training's `images_per_second` after the first step."""

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
        if self._steps:
            logs["images_per_second"] = self._steps * self.batch_size / (self._end - self._start)


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
