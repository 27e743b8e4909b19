import dataclasses
import json
import re

import keras
import pytest

import keras_recon
from keras_recon.training.options import TrainingOptions


@pytest.mark.parametrize(
    "option, value, expectation",
    [
        ("batch_size", 0, "at least 1"),
        ("base_batch_size", 0, "at least 1"),
        ("epochs", -1, "at least 1"),
        ("learning_rate", float("nan"), "finite, from 0"),
        ("weight_decay", float("inf"), "finite, from 0"),
        ("warmup_steps", -1, "at least 0"),
        ("ema_momentum", 1.0, "from 0 to below 1"),
        ("seed", 2**32, r"from 0 to below 2\^32"),
        ("on_divergence", "go on", "'stop' or 'rollback'"),
        ("loss", 3, "a text, a keras.losses.Loss or a function"),
    ],
)
def test_mistakes_are_named(option, value, expectation):
    with pytest.raises(ValueError, match=rf"`{option}` must be {expectation}\. Received: {option}={value!r}"):
        TrainingOptions(**{option: value})


def test_every_option_says_what_it_is_and_stays_as_it_is():
    options = TrainingOptions()
    assert all(re.search(rf"^ +{field.name}: \S", options.__doc__, re.M) for field in dataclasses.fields(options))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.epochs = 3


def test_the_warm_up_is_at_most_half_of_a_short_run():
    assert TrainingOptions(epochs=1, steps_per_epoch=10, warmup_steps=100).used_warmup_steps == 5
    assert TrainingOptions(epochs=1, steps_per_epoch=1000, warmup_steps=100).used_warmup_steps == 100


def test_what_is_trained_to_look_right_is_not_selected_by_psnr():
    assert TrainingOptions(loss="charbonnier+0.2*ssim").selects_weights
    assert not TrainingOptions(loss="mse+0.1*perceptual:deit_tiny").selects_weights
    assert not TrainingOptions(adversarial=0.1).selects_weights
    assert TrainingOptions(loss=keras.losses.Huber()).selects_weights
    assert not TrainingOptions(loss=keras_recon.losses.get("mse+0.1*perceptual:deit_tiny")).selects_weights


def test_options_are_values_of_json():
    values = TrainingOptions(loss=keras_recon.losses.Charbonnier(0.5), degradation="noise:25").as_json()
    assert (values["degradation"], values["loss"]["class_name"], values["loss"]["config"]["epsilon"]) == (
        "noise:25",
        "Charbonnier",
        0.5,
    )
    assert TrainingOptions(loss=keras.losses.huber).as_json()["loss"] == "huber"
    json.dumps(values)


def test_the_learning_rate_grows_by_the_root_of_the_batch_size():
    for base, expected in ((None, 1e-3), (4, 1e-3), (1, 2e-3)):
        options = TrainingOptions(batch_size=4, learning_rate=1e-3, base_batch_size=base)
        assert options.peak_learning_rate == pytest.approx(expected)


def test_it_is_at_the_front_door():
    assert keras_recon.TrainingOptions is TrainingOptions
