#!/usr/bin/env bash
# imagecodecs.webp_encode ignores its quality level unless lossless=False is passed.
#
# Expected: level=75 gives a lossy file of quality 75, as the quality of other WebP encoders does. Seen (imagecodecs
# 2026.3.6): levels 10, 75 and the default give the same lossless bytes. A benchmark that varies the level measures one
# point.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np

image = (255 * np.random.default_rng(0).random((64, 64, 3))).astype("uint8")
files = {level: imagecodecs.webp_encode(image, level=level) for level in (None, 75, 10)}
lossy = imagecodecs.webp_encode(image, level=75, lossless=False)
for level, file in files.items():
    print(f"level={level}: {len(file)} bytes, exact: {np.array_equal(imagecodecs.webp_decode(file), image)}")
print(f"level=75, lossless=False: {len(lossy)} bytes")
assert len(set(files.values())) == 1 and np.array_equal(imagecodecs.webp_decode(files[75]), image)
assert len(lossy) < len(files[75])
PYTHON
