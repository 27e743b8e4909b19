import importlib.util
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path

for name in ("tensorflow", "tensorboard", "tensorflow_datasets"):
    sys.modules[name] = None  # an import of it fails
import keras, keras_recon, numpy as np

images = np.random.default_rng(0).random((8, 16, 16, 3), "float32")
model = keras_recon.models.ViTReconstructor((16, 16, 3), patch_size=4, latent_dim=5, num_layers=1, hidden_dim=16)
model.adapt(images)
training, validation = keras_recon.data.load((images[:6], images[6:]), (16, 16, 3), 4, 3, degradation="noise:25")
assert isinstance(training, keras.utils.PyDataset) and len(training) == 3 and len(validation) == 1
model.adapt(training)
model.compile("adam", keras_recon.losses.from_string("charbonnier+0.1*ssim"), metrics=[keras_recon.metrics.PSNR()])
model.fit(images, images, verbose=0)
iterations = int(model.optimizer.iterations.numpy())
history = model.fit(training, epochs=2, validation_data=validation, verbose=0).history
assert int(model.optimizer.iterations.numpy()) == iterations + 6 and len(history["val_psnr"]) == 2
model.save(sys.argv[1])
loaded = keras.saving.load_model(sys.argv[1])
np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
from keras_recon.images import ImageFile, encode_image, read_image
from keras_recon.inference import PhotoProtocol

file = encode_image(ImageFile(np.zeros((20, 30, 3), "uint8")))
folder = Path(sys.argv[1]).parent / "photos"
for name in ("train/black.png", "train/black too.png", "val/black.png", "train/bad.png"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"" if name == "train/bad.png" else file)
training, validation = keras_recon.data.load(folder, (16, 16, 3), steps_per_epoch=2, degradation="noise:25")
assert [len(clean) for noisy, clean in training] == [32, 32] and not validation[0][1].any()
photo = read_image(file).pixels
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
