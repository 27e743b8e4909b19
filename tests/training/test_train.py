import csv
import itertools
import json

import keras
import numpy as np
import pytest
from contracts import POLICIES, random_images
from keras import ops
from models.test_vit import TINY
from models.tiny_backbones import tiny_backbone

from keras_recon import models
from keras_recon.callbacks import Diverged, GradualUnfreezing
from keras_recon.training.compile import compile_model
from keras_recon.training.options import TrainingOptions
from keras_recon.utils.run import Run

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
OPTIONS = {"learning_rate": 1e-3, "warmup_steps": 2, "loss": "mse", "weight_decay": 0.0, "ema_momentum": 0.0}


def options(**changes):
    return TrainingOptions(**{**OPTIONS, **changes})


def model(**changes):
    return models.ViTReconstructor(**{**TINY, **changes})


def test_learning_rate_rises_then_falls_to_zero():
    vit = model()
    compile_model(vit, options(epochs=1, steps_per_epoch=10))
    rates = [float(ops.convert_to_numpy(vit.optimizer._learning_rate(step))) for step in range(11)]
    np.testing.assert_allclose(rates[:3], [0, 5e-4, 1e-3], atol=1e-8)
    np.testing.assert_allclose(rates[6], 5e-4, atol=1e-8)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_only_kernels_of_the_network_decay():
    vit = model()
    compile_model(vit, options(epochs=1, steps_per_epoch=10, warmup_steps=0, weight_decay=1.0))
    for variable in vit.trainable_variables:
        variable.assign(np.ones(variable.shape, "float32"))
    vit.optimizer.build(vit.trainable_variables)
    vit.optimizer.apply([ops.zeros(v.shape) for v in vit.trainable_variables])
    for variable in vit.trainable_variables:
        expected = 1 - 1e-3 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(ops.convert_to_numpy(variable), expected, rtol=1e-6, err_msg=variable.path)


def test_the_learning_rate_grows_by_the_root_of_the_batch_size():
    rates = {}
    for base in (None, 4, 1):
        vit = model()
        compile_model(vit, options(batch_size=4, warmup_steps=0, base_batch_size=base))
        rates[base] = float(ops.convert_to_numpy(vit.optimizer._learning_rate(0)))
    assert rates == pytest.approx({None: 1e-3, 4: 1e-3, 1: 2e-3})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the other backends leave it to Keras")
@pytest.mark.parametrize(
    "steps, dtype, replicas, xla",
    [
        (300, "float32", 1, True),
        (299, "float32", 1, False),
        (300, "mixed_bfloat16", 1, False),
        (300, "float32", 2, False),
    ],
)
def test_on_a_cpu_long_runs_of_transformers_in_float32_are_compiled_by_xla(steps, dtype, replicas, xla):
    vit = model(dtype=dtype)
    convolutional = models.ConvAutoencoder((16, 16, 3), (4, 8), latent_dim=4, dtype=dtype)
    for network in (vit, convolutional):
        compile_model(network, options(epochs=1, steps_per_epoch=steps), replicas)
    assert vit.jit_compile == xla and not convolutional.jit_compile


def run(path, vit, callbacks=(), **changes):
    from keras_recon import data
    from keras_recon.training.train import train

    photos = data.load_photos([list(random_images(6, 32, 32, 3))] * 2)
    length = {"batch_size": 4, "epochs": 3, "steps_per_epoch": 4}
    of_run = Run(path, path / "runs"), options(**{**length, **changes})
    train(vit, *photos, *of_run, callbacks=callbacks, finish=False)
    return photos


def test_the_best_weights_stay_and_the_log_tells_them(tmp_path):
    from keras_recon import data
    from keras_recon.evaluation.scores import evaluate

    vit = model()
    _, validation = run(tmp_path, vit, ema_momentum=0.5)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert {"loss", "psnr", "ssim", "val_loss", "val_psnr", "val_ssim", "images_per_second", "seconds"} <= set(rows[0])
    scores = evaluate(vit, data.validation_batches(validation, vit.image_shape, 4))
    assert scores["psnr"] == pytest.approx(max(float(row["val_psnr"]) for row in rows), abs=1e-3)


def test_callbacks_of_the_caller_see_each_epoch_and_may_stop_the_training(tmp_path):
    seen = []
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, "val_psnr" in logs))),
        keras.callbacks.EarlyStopping(monitor="val_psnr", mode="max", baseline=1e9, patience=2),
    ]
    run(tmp_path, model(), callbacks, epochs=5)
    assert seen == [(0, True), (1, True)]
    assert (tmp_path / "training" / "step-8.weights.h5").exists()


@keras.saving.register_keras_serializable("tests")
class Cubed(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)


def squared(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("loss, name", [(Cubed(), "Cubed"), (squared, "squared")])
def test_a_loss_of_the_caller_is_trained_with_and_named(tmp_path, loss, name):
    run(tmp_path, model(), loss=loss, epochs=1, steps_per_epoch=2)
    assert name in json.dumps(Run(tmp_path).config["loss"])
    logs = Run(tmp_path).epochs()[0]
    if name == "squared":  # each image has as many pixels
        assert logs["val_loss"] == pytest.approx(10 ** (-logs["val_psnr"] / 10), rel=0.2)


def test_tensorboard_has_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, model())
    assert all(path.is_file() for path in (tmp_path / "runs").iterdir())  # one entry in the list of runs
    tags = set(EventAccumulator(str(tmp_path / "runs")).Reload().Tags()["tensors"])
    assert {f"{name}/{part}" for name in ("loss", "psnr", "ssim") for part in ("training", "validation")} <= tags
    assert {f"training/{name}" for name in ("learning_rate", "images_per_second", "seconds")} <= tags
    assert "validation/reconstructions" in tags


@pytest.mark.slow
def test_same_seed_same_weights(tmp_path):
    runs = []
    for name in ("a", "b"):
        keras.utils.set_random_seed(3)
        vit = model(dropout_rate=0.1, drop_path_rate=0.1)
        run(tmp_path / name, vit)
        runs.append(vit.get_weights())
    for a, b in zip(*runs):
        np.testing.assert_array_equal(a, b)


def test_divergence_is_said(tmp_path):
    with pytest.raises(Diverged, match=r"the loss came to \w+ in step \d, epoch 1, of [0-5], [0-5]"):
        run(tmp_path, model(), learning_rate=1e30)
    assert not list(tmp_path.rglob("best*"))
    with pytest.raises(ValueError, match="on_divergence='go on'"):
        run(tmp_path, model(), on_divergence="go on")


@pytest.mark.slow
def test_rolling_back_goes_on_at_a_lower_rate(tmp_path, capsys):
    rates = {"learning_rate": 3.0, "warmup_steps": 4}
    keras.utils.set_random_seed(0)
    with pytest.raises(Diverged):
        run(tmp_path / "stop", model(linear_path=False), **rates)
    keras.utils.set_random_seed(0)
    vit = model(linear_path=False)
    run(tmp_path / "rollback", vit, **rates, on_divergence="rollback")
    assert ": back to step 0, at half the learning rate" in capsys.readouterr().err
    assert float(ops.convert_to_numpy(vit.optimizer.rate_scale)) in (0.5, 0.25, 0.125)
    with open(tmp_path / "rollback" / "log.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("precision", POLICIES[1:])
def test_half_precision_trains(tmp_path, precision):
    keras.config.set_dtype_policy(precision)
    vit = model(refiner_filters=4)  # a CPU's convolutions of half precision take their time
    run(tmp_path, vit, ema_momentum=0.9)
    assert all(np.isfinite(w).all() for w in vit.get_weights())


@pytest.mark.slow
def test_gradual_unfreezing_frees_the_blocks_from_the_last_to_the_first(tmp_path):
    pretrained = models.PretrainedViTReconstructor(
        tiny_backbone(), latent_dim=5, strategy="gradual:1", decoder="linear", feature_layers=(1, 2)
    )
    depths = pretrained.variable_depths()
    snapshots = []

    def snapshot(epoch, logs):
        values = {v.path: ops.convert_to_numpy(v) for v in pretrained.backbone.trainable_variables}
        snapshots.append({path: np.array(value) for path, value in values.items() if not path.endswith("key/bias")})

    compile_model(pretrained, options(epochs=4, steps_per_epoch=2, warmup_steps=0, backbone_scale=1.0))
    images = random_images(4, 16, 16, 3)
    callbacks = [GradualUnfreezing(1, 2), keras.callbacks.LambdaCallback(on_epoch_end=snapshot)]
    pretrained.fit(images, images, batch_size=2, epochs=4, verbose=0, callbacks=callbacks)
    moved = [
        {depths[path] for path in before if not np.array_equal(before[path], after[path])}
        for before, after in itertools.pairwise(snapshots)
    ]
    assert moved == [{2}, {1, 2}, {0, 1, 2}]
    run(tmp_path, pretrained)  # `train` adds the callback itself


def test_layer_wise_decay_and_the_backbones_rate_reach_the_optimizer():
    pretrained = models.PretrainedViTReconstructor(tiny_backbone(), latent_dim=5, strategy="llrd:0.5", decoder="linear")
    compile_model(pretrained, options(epochs=1, steps_per_epoch=8, backbone_scale=0.1, weight_decay=1.0))
    optimizer = pretrained.optimizer
    assert (optimizer.scale, optimizer.decay, max(optimizer.depths.values())) == (0.1, 0.5, 3)
    decayed = [v.path for v in pretrained.trainable_variables if optimizer._use_weight_decay(v)]
    assert decayed and not set(decayed) & set(pretrained.variable_depths())
