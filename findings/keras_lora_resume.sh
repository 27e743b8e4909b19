#!/usr/bin/env bash
# A saved Keras model with LoRA can never be trained again after loading: both factors are loaded as zeros.
#
# Expected: the low-rank factors are restored, or reset as enable_lora sets them (one random, one zero), so that training
# goes on. Seen (keras 3.15.1, jax 0.10.2): the kernel is saved with the update merged, and both factors load as zeros.
# The gradient of each factor is a product with the other one, so 30 epochs of SGD leave both at zero.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PYTHON'
import os
import tempfile

import keras
import numpy as np

inputs = keras.Input((4,))
dense = keras.layers.Dense(4, use_bias=False)
model = keras.Model(inputs, dense(inputs))
dense.enable_lora(2)
x = np.random.default_rng(0).random((32, 4)).astype("float32")


def train(model):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, 3 * x, epochs=30, verbose=0)
    return {v.name: float(np.abs(np.asarray(v.value)).sum()) for v in model.trainable_variables}


print("after training:", train(model))
with tempfile.TemporaryDirectory() as folder:
    model.save(os.path.join(folder, "model.keras"))
    loaded = keras.saving.load_model(os.path.join(folder, "model.keras"))
resumed = train(loaded)
print("after loading and 30 more epochs:", resumed)
assert set(resumed.values()) == {0.0}
PYTHON
