import keras
import numpy as np
import pytest
from keras import ops

from keras_recon.optimizers import LayerwiseAdamW


def variables(count=3):
    return [keras.Variable(np.ones((2,), "float32"), name=f"v{i}") for i in range(count)]


def optimizer(new, low, high, weight_decay=0.0):
    return LayerwiseAdamW(1e-2, weight_decay=weight_decay, depths={low.path: 0, high.path: 2}, scale=0.5, decay=0.1)


def steps_of_adam(adam, trained):
    """How far a step goes: Adam's first is the learning rate, whatever the gradient."""
    adam.build(trained)
    adam.apply([ops.full((2,), 3.0) for _ in trained])
    return [float(1 - ops.convert_to_numpy(v)[0]) for v in trained]


def test_each_depth_has_its_learning_rate():
    trained = variables()
    adam = optimizer(*trained)
    np.testing.assert_allclose(steps_of_adam(adam, trained), [1e-2, 1e-2 * 0.5 * 0.01, 1e-2 * 0.5], rtol=0.01)
    copy = LayerwiseAdamW.from_config(adam.get_config())
    assert copy.get_config() == adam.get_config()


def test_each_depth_decays_at_its_rate():
    trained, excluded = variables(), variables()
    adam, other = optimizer(*trained, weight_decay=0.5), optimizer(*excluded, weight_decay=0.5)
    expected = [1.5 * 1e-2, 1.5 * 1e-2 * 0.5 * 0.01, 1.5 * 1e-2 * 0.5]
    np.testing.assert_allclose(steps_of_adam(adam, trained), expected, rtol=0.01)
    other.exclude_from_weight_decay(excluded[2:])
    assert steps_of_adam(other, excluded)[2] == pytest.approx(1e-2 * 0.5, rel=0.01)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_below_frozen_below_nothing_moves(weight_decay):
    trained = variables()
    adam = optimizer(*trained, weight_decay=weight_decay)
    adam.build(trained)
    adam.frozen_below.assign(1)
    assert any(v is adam.frozen_below for v in adam.variables)  # so that it is saved with the rest
    new, low, high = steps_of_adam(adam, trained)
    assert low == 0 < high < new


def test_without_depths_it_is_adamw():
    ours, theirs = variables(), variables()
    steps = [
        steps_of_adam(adam, trained)
        for adam, trained in (
            (LayerwiseAdamW(1e-2, weight_decay=0.1), ours),
            (keras.optimizers.AdamW(1e-2, weight_decay=0.1), theirs),
        )
    ]
    assert steps[0] == pytest.approx(steps[1], rel=1e-4)
