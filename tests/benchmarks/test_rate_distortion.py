import json

import numpy as np
import pytest
import rate_distortion
from PIL import Image, features
from skimage import data

from keras_recon.compression import ImageCodec

pytest.importorskip("constriction", reason="files of a codec need constriction")


def points(rates, scores):
    return [{"bpp": rate, "psnr": score} for rate, score in zip(rates, scores)]


def test_half_the_bits_at_equal_psnr_are_a_bd_rate_of_minus_a_half():
    rates, scores = np.array([0.2, 0.4, 0.9, 1.5]), np.array([28.0, 31.0, 34.0, 36.5])
    anchor = points(rates, scores)
    assert rate_distortion.bd_rate(points(rates / 2, scores), anchor) == pytest.approx(-0.5)
    assert rate_distortion.bd_rate(anchor, anchor) == 0
    assert rate_distortion.at_rate(anchor, 0.4) == pytest.approx(31)
    assert np.isnan(rate_distortion.at_rate(anchor, 2.0))


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    a, b = data.cat(), data.cat()[::-1]
    assert rate_distortion.psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b))


@pytest.mark.slow
def test_it_measures_whole_files(tmp_path, capsys):
    codec = ImageCodec(filters=(8, 8, 8), slices=(64, 128), hyper_dim=4, hyper_filters=8, seed=0)
    codec.adapt(data.coffee()[None, :256, :256] / np.float32(255))
    codec.save(tmp_path / "codec.keras")
    Image.fromarray(data.cat()[:128, :192]).save(tmp_path / "cat.png")
    names = ["jpeg", "webp"] + ["avif"] * features.check("avif")
    options = ["--model", str(tmp_path / "codec.keras"), "--codecs", *names, "--output", str(tmp_path / "rd.json")]
    rate_distortion.main([str(tmp_path), *options])
    curves = json.loads((tmp_path / "rd.json").read_text())["curves"]
    assert [*curves] == [*names, "keras_recon"]
    Image.fromarray(data.cat()[:128, :192]).save(tmp_path / "cat.webp", quality=20, method=6)
    (point,) = (p for p in curves["webp"] if p["quality"] == 20)
    assert point["bpp"] == pytest.approx(8 * (tmp_path / "cat.webp").stat().st_size / (128 * 192))
    assert "BD-rate" in capsys.readouterr().out
