import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY
from PIL import Image

from keras_recon.evaluation.figures import save_masked, save_reconstructions
from keras_recon.models import ViTReconstructor


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_picture(tmp_path, channels):
    clean = random_images(2, 16, 24, channels)
    sizes = []
    for degraded in (clean, 0.5 * clean):
        save_reconstructions(tmp_path / "picture.png", degraded, clean, 0.9 * clean)
        with Image.open(tmp_path / "picture.png") as picture:
            sizes.append(picture.size)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert sizes[1][0] > sizes[0][0]  # a column more for the degraded input
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("channels", [1, 4])
def test_picture_of_a_masked_model(tmp_path, channels):
    model = ViTReconstructor(**{**TINY, "image_shape": (16, 24, channels)}, mask_ratio=0.75)
    save_masked(tmp_path / "picture.png", model, random_images(2, 16, 24, channels))
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width > 600 and len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
