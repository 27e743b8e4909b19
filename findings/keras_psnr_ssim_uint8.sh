#!/usr/bin/env bash
# keras.ops.psnr and keras.ops.image.ssim accept uint8 images and return wrong numbers.
#
# Expected: the value of the same pixels as float, or an error. Seen (keras 3.15.1, jax 0.10.2): differences wrap around
# in uint8, so PSNR is 28.4 dB in place of 8.5 dB, and SSIM is 0 in place of 0.068.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

a = (255 * np.random.default_rng(0).random((1, 16, 16, 3))).astype("uint8")
b = np.concatenate([a[:, ::2], a[:, 1::2]], axis=1)
psnr = [float(keras.ops.psnr(a.astype(kind), b.astype(kind), 255)) for kind in ("uint8", "float32")]
ssim = [float(keras.ops.image.ssim(a.astype(kind), b.astype(kind), max_val=255)[0]) for kind in ("uint8", "float32")]
exact = 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())
print(f"PSNR: uint8 {psnr[0]:.2f} dB, float32 {psnr[1]:.2f} dB, exact {exact:.2f} dB")
print(f"SSIM: uint8 {ssim[0]:.4f}, float32 {ssim[1]:.4f}")
assert abs(psnr[1] - exact) < 1e-3 and psnr[0] - exact > 15
assert ssim[0] == 0 and ssim[1] > 0.05
PYTHON
