import json

import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY
from PIL import Image

from benchmarks import inpainting
from keras_recon.models import ViTReconstructor

HIDDEN = np.zeros((12, 16), bool)
HIDDEN[4:8, 4:12] = HIDDEN[:4, :4] = True  # inside, and in a corner


def test_interpolation_continues_a_plane_and_keeps_visible_pixels():
    rows, columns = np.mgrid[:12, :16] / 40
    images = np.stack([0.2 + rows + columns, 0.9 - columns - 0.5 * rows])[..., None].astype("float32")
    damaged = np.where(HIDDEN[..., None], 0, images)
    for fill in (inpainting.bilinear, inpainting.biharmonic):
        outputs = fill(damaged, HIDDEN)
        np.testing.assert_array_equal(outputs[:, ~HIDDEN], images[:, ~HIDDEN].astype(outputs.dtype))
        np.testing.assert_allclose(outputs[:, 4:8, 4:12], images[:, 4:8, 4:12], atol=1e-3)
        assert np.abs(outputs - images)[:, :4, :4].max() < 0.3


def test_the_script_compares_on_photos(tmp_path, capsys):
    for i, image in enumerate(random_images(2, 32, 40, 3)):
        Image.fromarray((255 * image).astype("uint8")).save(tmp_path / f"{i}.png")
    model = ViTReconstructor(**TINY, mask_ratio=0.5)
    model.adapt(random_images(8, 16, 16, 3))
    model.save(tmp_path / "model.keras")
    output = tmp_path / "inpainting.json"
    inpainting.main([str(tmp_path), "--model", str(tmp_path / "model.keras"), "--output", str(output)])
    written = json.loads(output.read_text())
    assert list(written["results"]) == ["model", "mean patch", "bilinear", "biharmonic"]
    rows = {name: row["hidden psnr"] for name, row in written["results"].items()}
    assert rows["model"] == pytest.approx(rows["mean patch"], abs=1e-3)  # it has not been trained
    for row in written["results"].values():  # half of the pixels are right
        assert row["psnr"] - row["hidden psnr"] == pytest.approx(10 * np.log10(2), abs=1e-3)
    assert written["protocol"]["crops"].startswith("8 of (16, 16, 3)") and "biharmonic" in capsys.readouterr().out


def test_a_model_without_masks_is_refused(tmp_path, capsys):
    ViTReconstructor(**TINY).save(tmp_path / "model.keras")
    with pytest.raises(SystemExit):
        inpainting.main([str(tmp_path), "--model", str(tmp_path / "model.keras")])
    assert "must be a masked model" in capsys.readouterr().err
