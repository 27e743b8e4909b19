import os
import signal
import threading

import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops
from models.test_vit import TINY

from keras_recon import models
from keras_recon.callbacks import Diverged, EndOnSignal, HaltOnDivergence, Interrupted, SwapEMAWeights, TrainingBackup
from keras_recon.optimizers import LayerwiseAdamW

IMAGES = random_images(16, 16, 16, 3)
STEPS = 4  # an epoch


def compiled(**options):
    keras.utils.set_random_seed(0)
    model = models.ViTReconstructor(**TINY, dropout_rate=0.1)
    model.compile(LayerwiseAdamW(1e-3, **options), "mse")
    return model


def fit(model, callbacks, first_step=0, epochs=5):
    """Epochs on the same images, from a step on."""
    epoch, done = divmod(first_step, STEPS)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": callbacks}
    if done:
        rest = IMAGES[4 * done :]
        model.fit(rest, rest, initial_epoch=epoch, epochs=epoch + 1, **options)
        epoch += 1
    model.fit(IMAGES, IMAGES, initial_epoch=epoch, epochs=epochs, **options)


def weights(model):
    return [np.array(ops.convert_to_numpy(w)) for w in model.weights]


class Meanwhile(keras.callbacks.Callback):
    """Does something in the second step of the fourth epoch."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_epoch_begin(self, epoch, logs=None):
        self.running = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.running, batch) == (3, 1):
            self.act()


def kill():
    raise MemoryError


def callbacks(backup, ema):
    return [*([SwapEMAWeights()] if ema else []), backup]


SLOW = [(False, signal.SIGINT), (False, None), (True, None)]


@pytest.mark.parametrize(
    "ema, number", [(True, signal.SIGTERM), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_a_restored_run_ends_with_the_same_weights(tmp_path, ema, number):
    options = {"use_ema": True, "ema_momentum": 0.8} if ema else {}
    whole = compiled(**options)
    fit(whole, callbacks(TrainingBackup(tmp_path / "whole", STEPS), ema))
    backup = TrainingBackup(tmp_path / "ended", STEPS)
    if number:
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        act = Meanwhile(lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=signal.Signals(number).name) as error, EndOnSignal(backup) as end:
            fit(compiled(**options), [act, *callbacks(backup, ema), end])
        assert (error.value.number, error.value.steps) == (number, 14)
        assert handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    else:
        with pytest.raises(MemoryError):
            fit(compiled(**options), [Meanwhile(kill), *callbacks(backup, ema)])
    steps, before = (14, 12) if number else (12, 8)
    assert {p.name for p in backup.directory.iterdir()} == {f"step-{n}.weights.h5" for n in (steps, before)}
    resumed, backup = compiled(**options), TrainingBackup(tmp_path / "ended", STEPS)
    assert backup.restore(resumed) and backup.steps == steps
    fit(resumed, callbacks(backup, ema), first_step=steps)
    for a, b in zip(weights(whole), weights(resumed)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_signal_during_the_last_validation_ends_the_run_behind_it(tmp_path):
    class Validating(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            os.kill(os.getpid(), signal.SIGTERM)

    model, backup = compiled(), TrainingBackup(tmp_path, STEPS)
    with pytest.raises(Interrupted, match="SIGTERM after 4 steps"), EndOnSignal(backup) as end:
        model.fit(
            IMAGES,
            IMAGES,
            batch_size=4,
            verbose=0,
            validation_data=(IMAGES, IMAGES),
            callbacks=[Validating(), backup, end],
        )
    assert (tmp_path / "step-4.weights.h5").exists()


def test_nothing_to_restore(tmp_path):
    backup = TrainingBackup(tmp_path / "missing", STEPS)
    assert not backup.restore(compiled()) and backup.steps == 0


def test_a_second_signal_acts_as_ever_and_other_threads_take_none(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell has it ignored
    end = EndOnSignal(TrainingBackup(tmp_path, STEPS))
    with pytest.raises(KeyboardInterrupt), end:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    def enter():
        with end:
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


@pytest.mark.parametrize("value", [np.nan, 1e4])
def test_what_diverges_is_named_before_it_is_saved(tmp_path, value):
    images = IMAGES.copy()
    images[9] = value  # in the third batch
    model = compiled()
    backup = TrainingBackup(tmp_path, STEPS)
    halt = HaltOnDivergence(backup, lambda step: [f"photo {step}", "another"])
    with pytest.raises(Diverged, match=r"diverged: the loss came to \S+ in step 3, epoch 1, of photo 3, another"):
        batches = ((images[i : i + 4],) * 2 for i in range(0, len(images), 4))
        model.fit(batches, steps_per_epoch=STEPS, verbose=0, callbacks=[backup, halt])
    assert [p.name for p in tmp_path.iterdir()] == ["step-0.weights.h5"]


def test_an_infinite_loss_diverges_from_the_first_step_on(tmp_path):
    with pytest.raises(Diverged, match="came to inf"):
        HaltOnDivergence(TrainingBackup(tmp_path, STEPS), lambda step: []).on_train_batch_end(0, {"loss": np.inf})


def test_a_loss_that_falls_or_wavers_is_no_divergence(tmp_path):
    halt = HaltOnDivergence(TrainingBackup(tmp_path, STEPS), lambda step: [])
    for loss in (1.0, 0.01, 0.5, 0.0, 9e-5):
        halt.on_train_batch_end(0, {"loss": loss})
