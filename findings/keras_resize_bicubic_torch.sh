#!/usr/bin/env bash
# keras.ops.image.resize(interpolation="bicubic") uses another cubic kernel on PyTorch than on JAX and TensorFlow.
#
# Expected: the same image on every backend. Seen (keras 3.15.1, jax 0.10.2, torch 2.13.0): enlarging without antialias
# uses a=-0.75 on PyTorch (the kernel of OpenCV) and a=-0.5 on JAX (that of Pillow). Random pixels differ by up to 0.07 of
# the range. With antialias=True all backends agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 torch==2.13.0
"$work/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

code = """
import sys, keras, numpy as np
image = np.random.default_rng(0).random((1, 16, 16, 3)).astype("float32")
outputs = [
    keras.ops.convert_to_numpy(keras.ops.image.resize(image, size, interpolation="bicubic", antialias=antialias))
    for size, antialias in (((32, 32), False), ((7, 7), True))
]
np.savez(sys.argv[1], *outputs)
"""
import tempfile

import numpy as np

with tempfile.TemporaryDirectory() as folder:
    arrays = {}
    for backend in ("jax", "torch"):
        path = os.path.join(folder, f"{backend}.npz")
        subprocess.run([sys.executable, "-c", code, path], check=True, env={**os.environ, "KERAS_BACKEND": backend})
        arrays[backend] = np.load(path)
    enlarged, shrunk = (float(np.abs(arrays["jax"][k] - arrays["torch"][k]).max()) for k in ("arr_0", "arr_1"))
print(f"largest difference: enlarged {enlarged:.4f}, shrunk with antialias {shrunk:.1e}")
assert 0.05 < enlarged < 0.1 and shrunk < 1e-5
PYTHON
