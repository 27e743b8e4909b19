import io
import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_degradations
import gpu_training
import numpy as np
import pytest
from arguments import missing
from gpu_crops import tiles_of
from PIL import Image
from skimage import data

from keras_recon.images import ImageFile, write_image

SCRIPT = Path(gpu_training.__file__)


@pytest.fixture(autouse=True)
def _jax():
    if why := missing(["jax"]):
        pytest.skip(why)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("quality", [10, 90])
def test_jpeg_is_that_of_pillow(quality, gray):
    photo = data.cat()[:128, :192]
    file = io.BytesIO()
    Image.fromarray(photo).convert("L" if gray else "RGB").save(file, "JPEG", quality=quality, subsampling=2)
    expected = np.asarray(Image.open(file).convert("RGB")).astype("float32")
    coded, _ = gpu_degradations.jpeg_of(photo / np.float32(255), float(quality), True, gray)
    error = np.sqrt(np.square(255 * np.asarray(coded) - expected).mean())
    assert error < 1.1 and error < 0.5 * np.sqrt(np.square(photo - expected).mean())


def test_halves_are_those_of_pillow():
    import jax

    photo = data.cat()[:96, :96]
    expected = np.asarray(Image.fromarray(photo).resize((48, 48), Image.Resampling.BICUBIC)).astype("float32")
    small, large = gpu_degradations.halved(jax.random.key(0), photo[None] / np.float32(255))
    assert np.abs(255 * np.asarray(small[0]) - expected[4:-4, 4:-4]).max() <= 1.01
    np.testing.assert_array_equal(large[0], photo[8:-8, 8:-8] / np.float32(255))


def test_tiles_cover_a_photo():
    photo = np.arange(200 * 300, dtype="int32").reshape(200, 300, 1)
    tiles = tiles_of(photo, 192)
    assert {tile.shape for tile in tiles} == {(192, 192, 1)} and len(np.unique(tiles)) == photo.size
    assert tiles_of(photo[:191], 192) == []


def test_tiles_of_large_photos_are_also_of_smaller_ones():
    photo = np.arange(256, dtype="uint8").repeat(2)[None, :, None].repeat(400, 0)  # a step in two pixels
    tiles = tiles_of(photo, 192, gpu_training.SCALES)
    slopes = [np.diff(tile[0, 20:-20, 0].astype("float32")).mean() for tile in tiles]
    assert {round(float(slope), 1) for slope in slopes} == {0.5, 0.7, 1.0}


@pytest.mark.slow
def test_it_trains_and_becomes_a_preset(tmp_path):
    for i in range(12):
        write_image(tmp_path / "photos" / f"{i:02}.jpg", ImageFile(data.cat(), format="JPEG"))
    weights, preset = tmp_path / "weights.npz", tmp_path / "preset.keras"
    environ = {**os.environ, "KERAS_BACKEND": "jax"}
    options = ["--minutes", "0.05", "--warm-start", "autoencoder", "--output", weights]
    options += ["--steps-per-epoch", "1", "--batch-size", "2"]
    command = [sys.executable, SCRIPT, tmp_path / "photos", "--task", "autoencoder", *options]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["held out"]["psnr"] > 15
    command = [sys.executable, SCRIPT.with_name("preset.py"), weights, "--task", "autoencoder", "--output", preset]
    subprocess.run(command, env=environ, check=True)
    from keras_recon import load_model

    model = load_model(preset)
    with np.load(weights) as arrays:
        for weight, expected in zip(model.get_weights(), arrays.values()):
            np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-6)
