#!/usr/bin/env bash
# keras.ops.image.gaussian_blur on JAX applies the kernel along one axis only, and darkens the image.
#
# Expected: a constant image stays constant away from the border, and an impulse becomes the 3x3 Gaussian, as on
# TensorFlow and in SciPy. Seen (keras 3.15.1, jax 0.10.2; PyTorch 2.13.0 gives the same numbers): the impulse becomes one
# row, and a constant image of 1.0 becomes 0.4519.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

impulse = np.zeros((1, 9, 9, 1), "float32")
impulse[0, 4, 4] = 1
kernel = np.exp(-np.array([-1, 0, 1]) ** 2 / 2)
kernel /= kernel.sum()
expected = np.outer(kernel, kernel)
blurred = np.asarray(keras.ops.image.gaussian_blur(impulse, (3, 3), (1.0, 1.0)))[0, 3:6, 3:6, 0]
constant = np.asarray(keras.ops.image.gaussian_blur(np.ones_like(impulse), (3, 3), (1.0, 1.0)))[0, 4, 4, 0]
print("expected impulse response:\n", expected.round(4))
print("seen:\n", blurred.round(4))
print("a constant image of 1.0 becomes", constant.round(4))
assert np.all(blurred[[0, 2]] == 0) and np.allclose(blurred[1], expected[1], atol=1e-6)
assert abs(constant - 0.4519) < 1e-3
PYTHON
