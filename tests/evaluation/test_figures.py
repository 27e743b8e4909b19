import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY
from PIL import Image

from keras_recon.evaluation.figures import save_masked, save_reconstructions
from keras_recon.models import ViTReconstructor


def drawn(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture)


def share(picture, color) -> float:
    """Of the pixels that have a colour (red, green, blue) in [0, 1]."""
    return float((np.abs(picture / 255 - color).max(axis=-1) < 0.01).mean())


@pytest.mark.parametrize("height, width, count", [(40, 60, 5), (300, 20, 1)])
def test_picture_shows_a_photo_and_crops(tmp_path, height, width, count):
    # Each picture has a colour of its own; the error maps are black, but for their colour bar.
    colors = {"original": (0.1, 0.9, 0.2), "PCA": (0.9, 0.3, 0.1), "reconstruction": (0.1, 0.9, 0.2)}
    photo, crops = (
        {title: np.broadcast_to(np.float32(color), (*shape, 3)) for title, color in colors.items()}
        for shape in ((1, height, width), (count, 16, 16))
    )
    save_reconstructions(tmp_path / "picture.png", photo, crops)
    picture = drawn(tmp_path / "picture.png")
    assert 1000 < picture.shape[1] < 1200
    shares = [share(picture, color) for color in colors.values()]
    assert shares[0] == pytest.approx(2 * shares[1], rel=0.02) and shares[1] > 0.02  # all are drawn, of one size
    margins = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    assert all((margin == 255).all() for margin in margins)  # nothing is cut
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_picture_of_a_degraded_run(tmp_path, channels):
    clean = random_images(2, 16, 24, channels)
    pictures = {"original": clean, "degraded": 0.5 * clean, "PCA": 0.8 * clean, "reconstruction": 0.9 * clean}
    save_reconstructions(tmp_path / "picture.png", {title: i[:1] for title, i in pictures.items()}, pictures)
    picture = drawn(tmp_path / "picture.png")
    assert len(np.unique(picture.mean(axis=-1).round())) > 50
    colored = np.ptp(picture.astype(int), axis=-1) > 30
    assert colored.mean() > (0.2 if channels >= 3 else 0.05)  # the error maps, and photos that have colours


@pytest.mark.parametrize("channels", [1, 4])
def test_picture_of_a_masked_model(tmp_path, channels):
    model = ViTReconstructor(**{**TINY, "image_shape": (16, 24, channels)}, mask_ratio=0.75)
    save_masked(tmp_path / "picture.png", model, random_images(2, 16, 24, channels))
    picture = drawn(tmp_path / "picture.png")
    assert picture.shape[1] > 600 and len(np.unique(picture.mean(axis=-1).round())) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
