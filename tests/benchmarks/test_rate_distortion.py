import json

import numpy as np
import pytest
import rate_distortion
from PIL import Image, features
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from keras_recon.compression import ImageCodec
from keras_recon.data import folder_photos

pytest.importorskip("constriction", reason="files of a codec need constriction")


def test_psnr_at_a_rate_is_interpolated():
    results = {"bpp": [0.2, 0.4, 0.9, 1.5], "psnr-rgb": [28.0, 31.0, 34.0, 36.5]}
    assert rate_distortion.at_rate(results, 0.4) == pytest.approx(31)
    assert np.isnan(rate_distortion.at_rate(results, 2.0))


def test_pca_costs_the_entropy_of_its_rounded_values(tmp_path):
    """Of photos whose patches have the same values at random, one after the other of its principal components."""
    rng = np.random.default_rng(0)
    levels = np.rint(rng.normal(128, 40, (256, 256, 3))).clip(0, 255).astype("uint8")
    Image.fromarray(levels).save(tmp_path / "noise.png")
    coded = rate_distortion.pca_codec(folder_photos(tmp_path))
    step = 20
    size, decoded = coded(levels, step)
    assert decoded.shape == levels.shape and decoded.dtype == np.uint8
    # Of white noise each of 3 values a pixel has the entropy of a Gaussian in steps, and the error is step^2 / 12.
    expected = 3 * 0.5 * np.log2(2 * np.pi * np.e * (40 / step) ** 2)
    assert 8 * size / 256**2 == pytest.approx(expected, rel=0.05)
    assert peak_signal_noise_ratio(levels, decoded) == pytest.approx(10 * np.log10(255**2 / (step**2 / 12)), abs=0.2)
    odd, decoded = coded(levels[:250, :201], step)
    assert decoded.shape == (250, 201, 3) and odd < size


@pytest.mark.slow
def test_it_measures_whole_files(tmp_path, capsys):
    codec = ImageCodec(filters=(8, 8, 8), slices=(64, 128), hyper_dim=4, hyper_filters=8, seed=0)
    codec.adapt(data.coffee()[None, :256, :256] / np.float32(255))
    codec.save(tmp_path / "codec.keras")
    for folder, photo in (("photos", data.cat()[:176, :192]), ("training", data.coffee()[:200, :200])):
        (tmp_path / folder).mkdir()
        Image.fromarray(photo).save(tmp_path / folder / "photo.png")
    names = ["jpeg", "webp"] + ["avif"] * features.check("avif")
    options = ["--model", str(tmp_path / "codec.keras"), "--codecs", *names, "--output", str(tmp_path / "out")]
    rate_distortion.main([str(tmp_path / "photos"), "--training", str(tmp_path / "training"), *options])
    files = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert {*files} == {*names, "pca", "keras_recon"}
    for name, content in files.items():
        assert {*content} == {"name", "description", "results"} and content["name"] == name
        lengths = {len(content["results"][key]) for key in ("bpp", "psnr-rgb", "ms-ssim-rgb")}
        assert len(lengths) == 1 and "1 photos" in content["description"]
    cat = data.cat()[:176, :192]
    Image.fromarray(cat).save(tmp_path / "cat.webp", quality=20, method=6)
    at, webp = rate_distortion.CODECS["webp"][1].index(20), files["webp"]["results"]
    assert webp["bpp"][at] == pytest.approx(8 * (tmp_path / "cat.webp").stat().st_size / (176 * 192))
    decoded = np.asarray(Image.open(tmp_path / "cat.webp").convert("RGB"))
    assert webp["psnr-rgb"][at] == pytest.approx(peak_signal_noise_ratio(cat, decoded), abs=1e-3)
    out = capsys.readouterr().out
    assert "BD-rate" in out and "% of header, hyper-latents, latents of (64, 128) channels" in out
    quality, bpp, *shares = (float(text) for text in out.splitlines()[-1].split())
    assert quality == 1 and bpp == pytest.approx(files["keras_recon"]["results"]["bpp"][-1], rel=0.01)
    assert len(shares) == 4 and sum(shares) == pytest.approx(100, abs=0.1)
    assert shares[0] == pytest.approx(100 * 8 * 22 / (176 * 192) / bpp, abs=0.01)
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.width > 400


def test_photos_too_small_are_named(tmp_path, capsys):
    Image.fromarray(data.cat()[:160, :192]).save(tmp_path / "cat.png")
    with pytest.raises(SystemExit):
        rate_distortion.main([str(tmp_path)])
    assert "at least 161 pixels a side, for MS-SSIM. Received: cat.png" in capsys.readouterr().err
