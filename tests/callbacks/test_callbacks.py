import io
import re
import time

import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops
from models.test_vit import TINY
from PIL import Image

from keras_recon import metrics, models
from keras_recon.callbacks import RunSummary, SwapEMAWeights, Throughput
from keras_recon.callbacks.tensorboard import HEADING, LEAST_WIDTH, _grid, log_final
from keras_recon.optimizers import LayerwiseAdamW

IMAGES = random_images(16, 16, 16, 3)


def compiled(**options):
    model = models.ViTReconstructor(**TINY)
    model.compile(LayerwiseAdamW(1e-3, **options), "mse", metrics=[metrics.PSNR()])
    return model


def fit(model, callbacks, **options):
    model.fit(IMAGES, IMAGES, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks, **options)


def test_callbacks_behind_it_see_the_average():
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["trained"] = [np.array(ops.convert_to_numpy(v)) for v in self.model.trainable_variables]
            average = self.model.optimizer._model_variables_moving_average
            seen["average"] = [np.array(ops.convert_to_numpy(v)) for v in average]

        def on_epoch_begin(self, epoch, logs=None):
            seen["begun"] = [np.array(ops.convert_to_numpy(v)) for v in self.model.trainable_variables]
            seen["before"] = seen.get("saved")

        def on_epoch_end(self, epoch, logs=None):
            seen["saved"] = [np.array(ops.convert_to_numpy(v)) for v in self.model.trainable_variables]

    model = compiled(use_ema=True, ema_momentum=0.9)
    fit(model, [SwapEMAWeights(), Look()], epochs=2)
    for saved, average in zip(seen["saved"], seen["average"]):
        np.testing.assert_array_equal(saved, average)
    for saved, trained in zip(seen["saved"], seen["trained"]):
        assert not np.array_equal(saved, trained)
    for begun, saved in zip(seen["begun"], seen["before"]):  # the second epoch goes on from the first's average
        np.testing.assert_array_equal(begun, saved)


def test_throughput_stands_in_the_logs():
    seen = {}

    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.05)

        def on_epoch_end(self, epoch, logs=None):
            seen.update(logs)

    fit(compiled(), [Throughput(batch_size=4), Slow()], epochs=1)
    assert 1 < seen["images_per_second"] < 4 / 0.05  # four images in at least the time slept
    assert seen["seconds"] > 4 * 0.05
    seen.clear()
    fit(compiled(), [Throughput(batch_size=4), Slow()], epochs=1, steps_per_epoch=1)
    assert 0 < seen["images_per_second"] < 4 / 0.05


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    return events.Reload()


def curve(events, tag):
    from tensorboard.util.tensor_util import make_ndarray

    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two epochs that was resumed for a third, and the logs of its epochs."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("logs")
    config = {
        "data": "sample",
        "run_name": "first",
        "saved_models": "saved_models",
        "seed": 1,
        "weight_decay": 0.5,
        "backbone_scale": 0.1,
        "flag": True,
        "preset": None,
        "degradation": None,
        "size": (1, 2),
    }
    model, history = compiled(), []
    for epochs in (range(2), range(2, 3)):
        summary = RunSummary(folder, "group/first", config, (IMAGES[:3] * 0.5, IMAGES[:3]))
        callbacks = [
            Throughput(4),
            summary,
            keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: history.append(logs)),
        ]
        fit(model, callbacks, epochs=epochs.stop, initial_epoch=epochs.start, validation_data=(IMAGES, IMAGES))
    log_final(folder, {"psnr": 30.0, "ssim": 0.9}, {"psnr": 29.0, "ssim": 0.8}, epochs=3)
    return folder, history


def test_a_run_is_one_entry_with_quality_before_speed(run):
    folder, history = run
    assert all(path.is_file() for path in folder.iterdir())
    events = events_of(folder)
    curves = sorted(tag for tag in events.Tags()["tensors"] if "/" in tag)
    groups = list(dict.fromkeys(tag.split("/")[0] for tag in curves))
    assert groups == ["_hparams_", "final", "loss", "psnr", "ssim", "training", "validation"]
    names = {"loss/training": "loss", "loss/validation": "val_loss", "training/seconds": "seconds"}
    names |= {"training/images_per_second": "images_per_second"}
    for tag, name in names.items():
        expected = {epoch: pytest.approx(logs[name]) for epoch, logs in enumerate(history)}
        assert curve(events, tag) == expected, tag
    assert curve(events, "training/learning_rate") == dict.fromkeys(range(3), pytest.approx(1e-3))
    for tag, value in {"final/psnr": 30.0, "final/ssim": 0.9, "psnr/pca": 29.0, "ssim/pca": 0.8}.items():
        assert curve(events, tag) == {0: pytest.approx(value), 2: pytest.approx(value)}


def test_hparams_are_what_can_matter(run):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = events_of(run[0])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = HParamsPluginData.FromString(content).session_start_info
    assert info.group_name == "group/first"
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}
    shown = {"data": "sample", "seed": 1.0, "weight_decay": 0.5, "flag": True, "size": "(1, 2)"}
    assert values == {**shown, "architecture": "ViTReconstructor", "degradation": "none"}
    assert "_hparams_/experiment" not in events.Tags()["tensors"]  # it would hide other runs' columns
    text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert "| data | sample |" in text and "| size | (1, 2) |" in text and "| saved_models |" in text


def test_charts_overlay_training_validation_and_pca(run):
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    events = events_of(run[0])
    content = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    tags = [tag for tag in events.Tags()["tensors"] if not tag.startswith("_")]
    charts = Layout.FromString(content).category[0].chart
    shown = {chart.title: {t for t in tags if re.match(chart.multiline.tag[0], t)} for chart in charts}
    assert shown["PSNR (dB)"] == {"psnr/training", "psnr/validation", "psnr/pca"}
    assert shown["loss"] == {"loss/training", "loss/validation"}


def test_images_have_headings(run):
    events = events_of(run[0]).Tensors("validation/reconstructions")
    assert [event.step for event in events] == [0, 1, 2]
    width, height, encoded = events[0].tensor_proto.string_val[:3]
    picture = np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))
    assert picture.shape == (int(height), int(width)) == (HEADING + 3 * LEAST_WIDTH, 4 * LEAST_WIDTH)
    headings = picture[:HEADING].reshape(HEADING, 4, LEAST_WIDTH)
    for heading in headings.transpose(1, 0, 2):
        dark = np.flatnonzero((heading < 128).any(axis=0))
        assert 20 < np.ptp(dark) < LEAST_WIDTH - 4 and dark.min() > 1  # a word, not cut
    original = picture[HEADING:, :LEAST_WIDTH].reshape(3, 16, 8, 16, 8)
    gray = IMAGES[:3] @ np.float32([0.299, 0.587, 0.114])
    np.testing.assert_allclose(original, np.broadcast_to(gray[:, :, None, :, None] * 255, original.shape), atol=2)


@pytest.mark.parametrize("channels, shown", [(1, 1), (2, 1), (4, 3)])
def test_grids_of_other_channels(channels, shown):
    grid = _grid({"original": np.ones((2, 200, 150, channels)), "reconstruction": np.zeros((2, 200, 150, channels))})
    assert grid.shape == (HEADING + 400, 300, shown)
    assert (grid[HEADING:, :150] == 255).all() and not grid[HEADING:, 150:].any()
