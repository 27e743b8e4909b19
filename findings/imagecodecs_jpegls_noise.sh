#!/usr/bin/env bash
# imagecodecs.jpegls_encode fails for images that JPEG-LS cannot compress.
#
# Expected: a file that is a little larger than the pixels, as PNG gives. Seen (imagecodecs 2026.3.6): the output buffer is
# as large as the pixels, so a valid image of noise raises "destination buffer is too small". A buffer passed as out=
# works.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np

image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
try:
    imagecodecs.jpegls_encode(image)
except imagecodecs.JpeglsError as error:
    print("raised:", error)
else:
    raise SystemExit("it encodes now")
file = imagecodecs.jpegls_encode(image, out=bytearray(2 * image.nbytes))
print(f"{image.nbytes} bytes of pixels fit into {len(file)} bytes when the buffer has room")
assert np.array_equal(imagecodecs.jpegls_decode(file), image)
PYTHON
