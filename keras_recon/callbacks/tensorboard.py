"""A run in TensorBoard: curves, reconstructions, settings and final scores."""

from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL import Image, ImageDraw, ImageFont

from keras_recon.callbacks.progress import SPEED

ERROR_GAIN = 5
LEAST_WIDTH = 128  # pixels per column of images; smaller columns are enlarged, so that their heading fits
HEADING = 24  # pixels
# Settings that do not change the quality of a model.
NO_HPARAMS = ("run_name", "data_dir", "cache", "saved_models", "logs", "distribute", "on_bad_image", "on_divergence")


class RunSummary(keras.callbacks.Callback):
    """Writes a run to TensorBoard as one entry in the list of runs; needs TensorFlow.

    After every epoch it writes:

    - curves such as `loss/training`, `loss/validation` and `training/images_per_second`,
    - a grid of validation images: original, degraded if it differs, reconstruction, and the error times five.

    All settings are under Text, those that can change the quality under HParams. A resumed run continues its entry.

    Args:
        log_dir: the folder of the event files.
        name: the name of the run.
        config: settings by name.
        images: (degraded, clean), a few validation images in [0, 1], arrays (images, height, width, channels).

    Example:
    >>> model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Dense(3)])
    >>> model.compile("adamw", "mse")
    >>> images = np.random.rand(4, 16, 16, 3).astype("float32")
    >>> summary = keras_recon.callbacks.RunSummary(tmp_path, "first", {"seed": 0}, (images[:2], images[:2]))
    >>> history = model.fit(images, images, verbose=0, callbacks=[summary])
    >>> [path.name for path in tmp_path.iterdir()]  # for `tensorboard --logdir`
    ['events.out.tfevents...']
    """

    def __init__(self, log_dir: Path, name: str, config: dict, images: tuple[np.ndarray, np.ndarray]):
        super().__init__()
        self.log_dir = log_dir
        self.name = name
        self.config = config
        self.images = images

    def on_train_begin(self, logs=None):
        import tensorflow as tf
        from tensorboard.plugins.hparams import api as hp

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(self.log_dir))
        rows = "".join(f"\n| {key} | {value} |" for key, value in self.config.items() if value is not None)
        with self._writer.as_default(step=0):
            # TensorBoard shows the columns of all runs, and first those that differ. With `hp.hparams_config`, it would
            # show only the columns of one of the runs.
            hp.hparams(self._hparams(), trial_id=self.name)
            tf.summary.text("configuration", f"| setting | value |\n|---|---|{rows}")
            tf.summary.experimental.write_raw_pb(_overlays())

    def _hparams(self) -> dict:
        # TensorBoard shows five columns at first, in alphabetical order. A setting without a value in some runs does
        # not count as different, so an absent degradation is "none".
        degradation = self.config.get("degradation") or "none"
        settings = {"architecture": type(self.model).__name__, **self.config, "degradation": degradation}
        if settings["architecture"] != "PretrainedViTReconstructor":
            settings.pop("backbone_scale", None)
        return {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in settings.items()
            if value is not None and key not in NO_HPARAMS
        }

    def on_epoch_end(self, epoch, logs=None):
        degraded, clean = self.images
        outputs = ops.convert_to_numpy(self.model(degraded, training=False))
        factor = clean.shape[1] // degraded.shape[1]  # above 1 if the model enlarges
        shown = degraded.repeat(factor, axis=1).repeat(factor, axis=2)
        columns = {"original": clean, "degraded": shown, "reconstruction": outputs}
        if np.array_equal(degraded, clean):
            del columns["degraded"]
        columns[f"error x{ERROR_GAIN}"] = ERROR_GAIN * np.abs(clean - outputs)
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        with self._writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                self._summary.scalar(_tag(name), value)
            self._summary.scalar("training/learning_rate", rate)
            self._summary.image("validation/reconstructions", _grid(columns)[None])
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()


def log_final(log_dir: Path, scores: dict[str, float], pca: dict[str, float], epochs: int):
    """Write the final scores of a run and of PCA to TensorBoard, as horizontal lines; needs TensorFlow.

    HParams shows the last value of each curve in alphabetical order, so `final/psnr` and `final/ssim` come first.

    Args:
        log_dir: the folder of the event files.
        scores: final scores of the model by name.
        pca: scores of PCA by name.
        epochs: number of epochs of the run.
    """
    import tensorflow as tf

    lines = {f"final/{name}": value for name, value in scores.items()}
    lines |= {f"{name}/pca": value for name, value in pca.items()}
    with tf.summary.create_file_writer(str(log_dir)).as_default():
        for tag, value in lines.items():
            for step in sorted({0, epochs - 1}):
                tf.summary.scalar(tag, value, step=step)


def _tag(name: str) -> str:
    """Return the tag of a Keras log. TensorBoard groups tags by the part before the `/`, in alphabetical order."""
    if name in SPEED:
        return f"training/{name}"
    part = "validation" if name.startswith("val_") else "training"
    return f"{name.removeprefix('val_')}/{part}"


def _overlays() -> bytes:
    """Return the layout of the page Custom Scalars: charts with training, validation and PCA in one."""
    from tensorboard.plugins.custom_scalar import layout_pb2, summary

    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"{name}/"]))
        for name, title in (("psnr", "PSNR (dB)"), ("ssim", "SSIM"), ("loss", "loss"))
    ]
    category = layout_pb2.Category(title="training, validation and PCA", chart=charts)
    return summary.pb(layout_pb2.Layout(category=[category])).SerializeToString()


def _grid(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Draw columns of images in [0, 1] under their titles; returns uint8 (height, width, 1 or 3 channels)."""
    picture = np.concatenate([np.concatenate(list(images)) for images in columns.values()], axis=1)
    picture = picture[..., : 3 if picture.shape[-1] >= 3 else 1]
    picture = np.rint(255 * np.clip(picture, 0, 1)).astype("uint8")
    scale = -(-LEAST_WIDTH * len(columns) // picture.shape[1])
    picture = np.pad(
        picture.repeat(scale, axis=0).repeat(scale, axis=1), ((HEADING, 0), (0, 0), (0, 0)), constant_values=255
    )
    heading = Image.new("L", (picture.shape[1], HEADING), "white")
    width = picture.shape[1] / len(columns)
    for index, title in enumerate(columns):
        position = ((index + 0.5) * width, HEADING / 2)
        ImageDraw.Draw(heading).text(position, title, "black", ImageFont.load_default(15), anchor="mm")
    picture[:HEADING] = np.asarray(heading)[..., None]
    return picture
