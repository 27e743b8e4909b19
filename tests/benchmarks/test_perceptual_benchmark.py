import json

import numpy as np
import pytest
from contracts import outputs_of, random_images
from models.tiny_backbones import save_as_hugging_face, tiny_backbone
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from benchmarks import perceptual
from keras_recon.models import ConvAutoencoder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(random_images(2, 32, 48, 3)):
        Image.fromarray((255 * image).astype("uint8")).save(tmp_path / "photos" / f"{i}.png")
    model = ConvAutoencoder((16, 16, 3), (4, 8), latent_dim=4)
    model.adapt(random_images(8, 16, 16, 3))
    model.save(tmp_path / "model.keras")
    save_as_hugging_face(tiny_backbone(), tmp_path / "tiny")
    return tmp_path


def test_all_models_are_measured_on_all_crops(folder, capsys):
    names = ["--metrics", f"perceptual:{folder / 'tiny'}:1,2", f"frechet:{folder / 'tiny'}"]
    models = ["--models", f"ours={folder / 'model.keras'}", f"same={folder / 'model.keras'}"]
    output = ["--output", str(folder / "out.json"), "--picture", str(folder / "out.png")]
    perceptual.main([str(folder / "photos"), *models, *names, "--stride", "16", *output])
    written = json.loads((folder / "out.json").read_text())
    row, same = written["results"].values()
    assert row == same and set(row) == {"psnr", "ssim", "perceptual_tiny_1_2", "frechet_tiny_3"}
    assert written["protocol"]["crops"].startswith("12 of 16x16") and "frechet_tiny_3" in capsys.readouterr().out
    assert np.asarray(Image.open(folder / "out.png")).shape == (3 * 3 * 16, 8 * 3 * 16, 3)


def test_psnr_is_scikit_images(folder):
    from keras_recon import load_model

    images = random_images(3, 16, 16, 3)
    outputs = outputs_of(load_model(folder / "model.keras"), images)
    expected = np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(images, outputs)])
    assert perceptual.measure(outputs, images, [])["psnr"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "wrong, message",
    [(["--models", "ours"], "must be LABEL=MODEL"), (["--metrics", "lpips"], "Received: lpips")],
)
def test_mistakes_are_named(folder, capsys, wrong, message):
    arguments = {"--models": f"ours={folder / 'model.keras'}", "--metrics": "psnr", wrong[0]: wrong[1]}
    with pytest.raises(SystemExit) as exit_:
        perceptual.main([str(folder / "photos"), *(text for pair in arguments.items() for text in pair)])
    assert exit_.value.code == 2 and message in capsys.readouterr().err
