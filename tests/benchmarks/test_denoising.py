import json

import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_wavelet

pytest.importorskip("tensorflow", reason="keras_recon.data needs TensorFlow")
from benchmarks import denoising


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, photo in enumerate((skimage.data.astronaut()[:96, 150:270], skimage.data.coffee()[100:180, 200:300])):
        Image.fromarray(photo).save(folder / f"{i}.png")
    return folder


def test_figures_and_protocol(photos, tmp_path, capsys):
    arguments = [str(photos), "--sigma", "25", "--seed", "3", "--json", str(tmp_path / "out.json")]
    denoising.main([*arguments, "--methods", "nl_means"])
    content = json.loads((tmp_path / "out.json").read_text())
    rows, protocol = content["rows"], content["protocol"]
    assert list(rows) == ["input", "nl_means"] and content["names of photos"] == ["0.png", "1.png"]
    clean = np.asarray(Image.open(photos / "1.png")).astype("float32") / 255
    noise = np.random.default_rng((3, 1)).standard_normal(clean.shape, "float32") * np.float32(25 / 255)
    assert rows["input"]["psnr of photos"][1] == pytest.approx(
        -10 * np.log10(np.mean(noise**2, dtype="float64")), abs=1e-3
    )
    assert rows["input"]["psnr"] == pytest.approx(np.mean(rows["input"]["psnr of photos"]))
    assert rows["nl_means"]["psnr"] > rows["input"]["psnr"] + 5
    assert "default_rng((3, i))" in protocol["seed"] and "sigma 25 of 255, not clipped" in protocol["noise"]
    assert "nl_means" in capsys.readouterr().out.splitlines()[-1]
    denoising.main([*arguments, "--clip", "--methods"])
    content = json.loads((tmp_path / "out.json").read_text())
    error = (clean + noise).clip(0, 1) - clean
    assert content["rows"]["input"]["psnr of photos"][1] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-3)
    assert "sigma 25 of 255, clipped" in content["protocol"]["noise"]


@pytest.mark.parametrize(
    "method, package, gain", [("wavelet", "pywt", 5), pytest.param("bm3d", "bm3d", 8, marks=pytest.mark.slow)]
)
def test_methods_that_need_a_package(photos, tmp_path, method, package, gain):
    pytest.importorskip(package)
    denoising.main([str(photos), "--methods", method, "--json", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows[method]["psnr"] > rows["input"]["psnr"] + gain


def test_a_label_runs_the_function_that_its_protocol_names(photos):
    rng = np.random.default_rng(0)
    noisy = np.asarray(Image.open(photos / "1.png")).astype("float32") / 255
    noisy += rng.standard_normal(noisy.shape, "float32") * 0.1
    expected = denoise_nl_means(
        noisy, patch_size=5, patch_distance=6, h=0.06, sigma=0.1, fast_mode=True, channel_axis=-1
    )
    np.testing.assert_array_equal(denoising.METHODS["nl_means"].run(noisy, 0.1), expected)
    pytest.importorskip("pywt")
    expected = denoise_wavelet(noisy, 0.1, mode="soft", method="BayesShrink", convert2ycbcr=True, channel_axis=-1)
    np.testing.assert_array_equal(denoising.METHODS["wavelet"].run(noisy, 0.1), expected)


def test_outputs_are_clipped_before_psnr():
    clean = np.full((8, 8, 3), 0.9, "float32")
    row = denoising.measure(lambda noisy, sigma: noisy + sigma, [(clean, clean)], 0.5)
    assert row["psnr of photos"] == [pytest.approx(20, abs=1e-4)]  # 0.1 too much
