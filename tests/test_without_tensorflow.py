import importlib.util
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys

for name in ("tensorflow", "tensorboard", "tensorflow_datasets"):
    sys.modules[name] = None  # an import of it fails
import keras, keras_recon, numpy as np

images = np.random.default_rng(0).random((8, 16, 16, 3), "float32")
model = keras_recon.models.ViTReconstructor((16, 16, 3), patch_size=4, latent_dim=5, num_layers=1, hidden_dim=16)
model.adapt(images)
model.compile("adam", keras_recon.losses.from_string("charbonnier+0.1*ssim"), metrics=[keras_recon.metrics.PSNR()])
model.fit(images, images, verbose=0)
model.save(sys.argv[1])
loaded = keras.saving.load_model(sys.argv[1])
np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
from keras_recon.images import ImageFile, encode_image, read_image
from keras_recon.inference.protocol import PhotoProtocol

photo = read_image(encode_image(ImageFile(np.zeros((20, 30, 3), "uint8")))).pixels
assert PhotoProtocol().output(loaded, photo, "photo").shape == (20, 30, 3)
assert sys.modules["tensorflow"] is None
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_build_fit_save_load_and_use_with_tensorflow_blocked(tmp_path, backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "-c", SCRIPT, tmp_path / "model.keras"]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
