import time

import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops
from models.test_vit import TINY

from keras_recon import models
from keras_recon.callbacks import RunSummary, SwapEMAWeights, Throughput
from keras_recon.callbacks.run_summary import log_final
from keras_recon.optimizers import LayerwiseAdamW

IMAGES = random_images(16, 16, 16, 3)


def compiled(**options):
    model = models.ViTReconstructor(**TINY)
    model.compile(LayerwiseAdamW(1e-3, **options), "mse")
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

        def on_epoch_end(self, epoch, logs=None):
            seen["saved"] = [np.array(ops.convert_to_numpy(v)) for v in self.model.trainable_variables]

    model = compiled(use_ema=True, ema_momentum=0.9)
    fit(model, [SwapEMAWeights(), Look()], epochs=2)
    for saved, average in zip(seen["saved"], seen["average"]):
        np.testing.assert_array_equal(saved, average)
    for saved, trained in zip(seen["saved"], seen["trained"]):
        assert not np.array_equal(saved, trained)


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


def test_run_summary_writes_text_images_and_hparams(tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    config = {"data": "sample", "seed": 1, "rate": 0.5, "flag": True, "none": None, "size": (1, 2)}
    degraded = IMAGES[:3] * 0.5
    fit(compiled(), [RunSummary(tmp_path, config, (degraded, IMAGES[:3]))], epochs=2)
    log_final(tmp_path, {"psnr": 30.0, "ssim": 0.9})
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"configuration", "reconstructions", "final/psnr", "final/ssim"} <= set(tags)
    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(session).session_start_info.hparams
    assert hparams["seed"].number_value == 1 and hparams["flag"].bool_value and "none" not in hparams
    text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert "| data | sample |" in text and "| size | (1, 2) |" in text
    images = events.Tensors("reconstructions")
    assert [event.step for event in images] == [0, 1]
    width, height = images[0].tensor_proto.string_val[:2]
    assert (int(width), int(height)) == (4 * 16, 3 * 16)  # clean, degraded, output, error of three images
