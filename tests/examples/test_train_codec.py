import re

import keras
import numpy as np
import pytest
import train_codec
from callbacks.test_callbacks import curve, events_of

from keras_recon.compression import ImageCodec

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
SHORT = ["--epochs", "1", "--steps-per-epoch", "2", "--batch-size", "64", "--image-size", "32"]


def small(**kwargs):
    """A codec of these slices in place of the default one, which takes long to build and to trace."""
    return ImageCodec(filters=(4, 4, 8), num_blocks=(1, 1), slices=(3, 5), hyper_dim=2, hyper_filters=4, **kwargs)


@pytest.mark.slow
def test_a_short_run_leaves_a_codec_and_its_scores(tmp_path, monkeypatch, capsys):
    built = []
    monkeypatch.setattr(train_codec, "ImageCodec", lambda **kwargs: built.append(small(**kwargs)) or built[0])
    monkeypatch.chdir(tmp_path)
    train_codec.main(SHORT)
    assert all([*(tmp_path / "runs" / "codec" / name).iterdir()] for name in ("validation", "rate_distortion"))
    codec = keras.saving.load_model(tmp_path / "saved_models" / "codec" / "model.keras")
    assert isinstance(codec, ImageCodec) and codec.optimizer.iterations == 2
    assert not np.allclose(codec.mean, 0.5)  # adapted to the photos
    for saved, measured in zip(codec.get_weights(), built[0].get_weights(), strict=True):
        np.testing.assert_array_equal(saved, measured)
    *_, header, first, second, third, fourth, fifth = capsys.readouterr().out.splitlines()
    assert header == "quality  bits per pixel  PSNR (dB)"
    scores = np.array([line.split() for line in (first, second, third, fourth, fifth)], float)
    np.testing.assert_array_equal(scores[:, 0], train_codec.QUALITIES)
    assert (np.diff(scores[:, 1]) > 0).all() and scores[4, 2] > scores[0, 2] + 0.5  # each quality is another


def test_the_curve_is_over_thousandths_of_a_bit(tmp_path):
    scores = [{"psnr": 28.5, "bits_per_pixel": 0.25}, {"psnr": 35.0, "bits_per_pixel": 1.1004}]
    train_codec.log_curve(tmp_path, scores, ["psnr"])
    assert curve(events_of(tmp_path), "rate_distortion/psnr") == {250: 28.5, 1100: 35.0}


@pytest.mark.slow
def test_a_run_goes_on_from_a_codec(tmp_path):
    start = small()
    start.mean.assign(np.full(192, 0.3))
    start.save(tmp_path / "start.keras")
    where = ["--output", str(tmp_path / "codec"), "--logs", str(tmp_path / "logs")]
    train_codec.main([*SHORT, "--from", str(tmp_path / "start.keras"), *where])
    codec = keras.saving.load_model(tmp_path / "codec" / "model.keras")
    np.testing.assert_array_equal(codec.mean, start.mean)


@pytest.mark.parametrize("size", ["40", "0", "16"])
def test_a_size_that_the_codec_cannot_have_is_refused(size, capsys):
    with pytest.raises(SystemExit) as exit_:
        train_codec.main([*SHORT, "--image-size", size])
    assert exit_.value.code == 2
    expected = f"error: --image-size must be a multiple of 32, for mse at least 32. Received: {size}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.slow
def test_ms_ssim_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_codec, "ImageCodec", small)
    where = ["--output", str(tmp_path / "codec"), "--logs", str(tmp_path / "logs")]
    monkeypatch.setattr(train_codec, "QUALITIES", (0.0, 1.0))
    options = ["--distortion", "ms-ssim", "--batch-size", "4", "--learning-rate", "0.01", *where]
    train_codec.main([*options, "--epochs", "2", "--steps-per-epoch", "10"])
    lines = capsys.readouterr().out.splitlines()
    losses = [float(re.search(r" loss: (\S+)", line)[1]) for line in lines if " loss: " in line]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert lines[-3] == "quality  bits per pixel  PSNR (dB)  MS-SSIM"
    low, high = np.array([line.split() for line in lines[-2:]], float)
    assert np.isfinite([low, high]).all() and low[1] < high[1] and 0.5 < low[3] < high[3] < 1
    codec = keras.saving.load_model(tmp_path / "codec" / "model.keras")
    assert all(np.isfinite(weight).all() for weight in codec.get_weights())


def test_crops_too_small_for_ms_ssim_are_refused(capsys):
    with pytest.raises(SystemExit):
        train_codec.main([*SHORT, "--distortion", "ms-ssim", "--image-size", "160"])
    assert capsys.readouterr().err.endswith("for ms-ssim at least 192. Received: 160\n")


def test_a_preset_of_another_kind_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_codec.main([*SHORT, "--from", "denoise", "--output", str(tmp_path / "codec")])
    assert "`preset` must be of the class ImageCodec. Received: preset='denoise'" in capsys.readouterr().err
    assert not (tmp_path / "codec").exists()
