"""Moving averages of weights in plain fits: who has them, and when."""

import keras
import numpy as np
import pytest
from contracts import POLICIES, random_images
from keras import ops

from keras_recon.callbacks import SwapEMAWeights
from keras_recon.optimizers import LayerwiseAdamW, without_loss_scaling

IMAGES = random_images(12, 8, 8, 3)


def compiled(rate=0.05, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(4, "relu"), keras.layers.Dense(3)])
    model.compile(LayerwiseAdamW(rate, use_ema=True, ema_momentum=0.9, **options), "mse")
    return model


def fit(model, callbacks=(), epochs=3, validated=True):
    validation = (IMAGES[8:], IMAGES[8:]) if validated else None
    options = {"batch_size": 2, "shuffle": False, "verbose": 0, "callbacks": [*callbacks]}
    return model.fit(IMAGES[:8], IMAGES[:8], epochs=epochs, validation_data=validation, **options).history


def weights(model):
    return [np.array(w) for w in model.get_weights()]


def averages(model):
    optimizer = without_loss_scaling(model.optimizer)
    return [np.array(ops.convert_to_numpy(v)) for v in optimizer.variables if v.name.endswith("_average")]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class Look(keras.callbacks.Callback):
    """Keeps the weights of the last step and of the last epoch's end."""

    def on_train_batch_end(self, batch, logs=None):
        self.trained = weights(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.at_the_end = weights(self.model)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_fit_ends_with_the_averages(swapped, policy):
    keras.config.set_dtype_policy(policy)
    model, look = compiled(), Look()
    fit(model, [look, SwapEMAWeights()] if swapped else [look])
    assert not same(weights(model), look.trained)
    assert same(averages(model), look.trained if swapped else weights(model))
    if swapped:
        assert same(look.at_the_end, weights(model))
    fit(model, [look], validated=False)  # without the callback, after a fit with it
    assert same(averages(model), weights(model)) and not same(weights(model), look.trained)


def test_a_plain_fit_is_that_of_keras():
    ours, theirs = compiled(weight_decay=0.1), compiled()
    optimizer = keras.optimizers.AdamW(0.05, weight_decay=0.1, use_ema=True, ema_momentum=0.9)
    theirs.compile(optimizer, "mse")
    for model in (ours, theirs):
        fit(model)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [False, True])
def test_the_best_validated_weights_are_kept_wherever_the_callback_stands(tmp_path, first):
    path = tmp_path / "best.weights.h5"
    keeping = [
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True),
    ]
    swap = SwapEMAWeights()
    model = compiled(rate=0.3)  # so high that a later epoch is worse
    scores = fit(model, [swap, *keeping] if first else [*keeping, swap], epochs=20)["val_loss"]
    assert len(scores) < 20 and min(scores) < scores[-1]
    validation = {"x": IMAGES[8:], "y": IMAGES[8:], "verbose": 0}
    assert model.evaluate(**validation) == pytest.approx(min(scores), rel=1e-5)
    model.load_weights(path)
    assert model.evaluate(**validation) == pytest.approx(min(scores), rel=1e-5)


def test_an_evaluation_sees_the_averages_and_leaves_the_trained_weights():
    model = compiled()
    validation = {"x": IMAGES[8:], "y": IMAGES[8:], "verbose": 0}
    untrained = model.evaluate(**validation)
    assert model.evaluate(**validation, callbacks=[SwapEMAWeights()]) == pytest.approx(untrained, rel=1e-6)
    for _ in range(4):
        model.train_on_batch(IMAGES[:4], IMAGES[:4])
    trained, average = weights(model), averages(model)
    of_trained = model.evaluate(**validation)
    of_average = model.evaluate(**validation, callbacks=[SwapEMAWeights()])
    assert same(weights(model), trained) and same(averages(model), average)
    model.set_weights(average)
    assert of_average == pytest.approx(model.evaluate(**validation), rel=1e-5) != pytest.approx(of_trained, rel=1e-3)


def test_another_optimizer_is_named():
    model = compiled()
    model.compile(keras.optimizers.Adam(use_ema=True), "mse")
    with pytest.raises(ValueError, match=r"LayerwiseAdamW\(use_ema=True\)\. Received: optimizer=Adam, use_ema=True"):
        fit(model, [SwapEMAWeights()], epochs=1)
