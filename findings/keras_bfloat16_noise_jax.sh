#!/usr/bin/env bash
# keras.random.normal in bfloat16 on JAX draws from 128 distinct values and has no tails.
#
# Expected: thousands of distinct values and a largest one near 4.3 among 100,000 draws, as on PyTorch and TensorFlow.
# Seen (keras 3.15.1, jax 0.10.2): 128 distinct values from -2.89 to 2.52.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

for dtype in ("float32", "bfloat16"):
    draws = np.asarray(keras.random.normal((100_000,), dtype=dtype, seed=1)).astype("float32")
    print(f"{dtype}: {len(np.unique(draws)):,} distinct values from {draws.min():.2f} to {draws.max():.2f}")
assert len(np.unique(draws)) == 128 and draws.max() < 3
PYTHON
