import csv
import signal

import h5py
import keras
import numpy as np
import pytest
from contracts import outputs_of, random_images

import keras_recon
from keras_recon import models
from keras_recon.callbacks import Interrupted, Throughput
from keras_recon.evaluation.scores import evaluate
from keras_recon.training.distribution import ALONE
from keras_recon.training.options import TrainingOptions
from keras_recon.utils.run import Run

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
OPTIONS = {"batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1, "adversarial": 0.1}


def trained(path, distribution=ALONE, **changes):
    photos = keras_recon.data.load_photos([list(random_images(6, 32, 32, 3))] * 2)
    keras.utils.set_random_seed(0)
    model = models.ConvAutoencoder((16, 16, 3), (4, 8), latent_dim=4)
    options = TrainingOptions(**{**OPTIONS, **changes})
    keras_recon.train(model, *photos, Run(path), options, distribution, finish=False)
    return model


@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole")
    with h5py.File(tmp_path / "whole" / "training" / "best.weights.h5") as file:
        assert "discriminator" not in file
    with open(tmp_path / "whole" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 < float(row["discriminator_hinge"]) < 2 for row in rows)
    count = Throughput.on_train_batch_end

    def interrupt(self, batch, logs=None):
        count(self, batch, logs)
        if self.model.optimizer.iterations == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Throughput, "on_train_batch_end", interrupt)
        trained(tmp_path / "parts")
    (backup,) = (tmp_path / "parts" / "training").glob("step-4*")
    assert backup.stat().st_size > 600_000 * 4  # the discriminator is in it
    resumed = trained(tmp_path / "parts")
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    resumed.save(tmp_path / "model.keras")
    images = random_images(2, 16, 16, 3)
    loaded = keras_recon.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(loaded, images), outputs_of(resumed, images), atol=1e-6)


def test_the_last_weights_are_kept(tmp_path):
    """By PSNR, those before an adversarial training were the best."""
    model = trained(tmp_path, epochs=3, learning_rate=0.003, ema_momentum=0.0, adversarial=10.0, loss="0.001*mse")
    with open(tmp_path / "log.csv", newline="") as file:
        psnr = [float(row["val_psnr"]) for row in csv.DictReader(file)]
    assert psnr[-1] < max(psnr)
    photos = keras_recon.data.load_photos([list(random_images(6, 32, 32, 3))] * 2)
    batches = keras_recon.data.validation_batches(photos[1], model.image_shape, 4)
    assert evaluate(model, batches)["psnr"] == pytest.approx(psnr[-1], abs=1e-2)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the other backends share the discriminator")
def test_several_processes_of_torch_are_refused(tmp_path):
    distribution = ALONE._replace(shard=keras_recon.data.batches.Shard(0, 2))
    with pytest.raises(ValueError, match=r"`adversarial` must be 0 in several processes.*Received: adversarial=0\.1"):
        trained(tmp_path, distribution)
