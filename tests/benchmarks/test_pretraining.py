import json
import subprocess
import sys

import numpy as np
import pretraining
import pytest
from arguments import missing
from keras_hub.models import ViTBackbone
from models.tiny_backbones import save_as_hugging_face
from PIL import Image
from processes import HERE, environ
from skimage import data


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()[:300, :400]).save(folder / f"{name}.png")
    return folder


def test_photos_come_in_one_order_and_crops_cover_the_grid(photos):
    first, second = (pretraining.pixels_of(photos) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True)) and len(first) == 2
    crops = pretraining.grid(first, 50)
    assert crops.shape == (2 * 2 * 4, 224, 224, 3) and crops.dtype == "float32"
    np.testing.assert_array_equal(crops[1], first[0][:224, 50:274] / np.float32(255))


def test_an_unknown_system_is_named(photos, capsys):
    with pytest.raises(SystemExit) as exit_:
        pretraining.main([str(photos), "--eval", str(photos), "--system", "gan", "--preset", "p", "--output", "o"])
    assert exit_.value.code == 2 and "'gan'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("system", ["autoencoder", "pretrained, stem, noise"])
def test_a_training_tells_of_every_epoch(system, photos, tmp_path):
    if why := missing(["jax"]):
        pytest.skip(why)
    backbone = ViTBackbone((224, 224, 3), patch_size=16, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=12)
    save_as_hugging_face(backbone, tmp_path / "preset")
    arguments = [photos, "--eval", photos, "--system", system, "--preset", tmp_path / "preset"]
    arguments += ["--precision", "float32", "--epochs", 2, "--steps-per-epoch", 1, "--batch-size", 1]
    arguments += ["--stride", 300, "--output", tmp_path / "o"]
    command = [sys.executable, HERE / "pretraining.py", *map(str, arguments)]
    subprocess.run(command, check=True, env=environ("jax"), capture_output=True)
    written = json.loads((tmp_path / "o").read_text())
    assert [set(log) >= {"val_psnr", "psnr"} for log in written["logs"]] == [True, True, False]
    assert written["logs"][-1]["psnr"] > 20 and written["crops"] == 2
