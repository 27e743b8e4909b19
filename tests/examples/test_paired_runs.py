"""Runs on the user's own pairs, and runs that start from a trained model, by their command lines."""

import json
from dataclasses import dataclass

import compare
import keras
import numpy as np
import pytest
import reconstruct
import skimage.data
import train_autoencoder
import train_restoration
import train_vit
from app.settings import parse
from app.systems import RestorationConfig
from examples.tiny_runs import tiny, where
from PIL import Image

from keras_recon import doctor
from keras_recon.data import load_photos
from keras_recon.degradations import Degradation
from keras_recon.evaluation.rate import CODECS
from keras_recon.models import RestorationUNet, ViTReconstructor
from keras_recon.training.options import TrainingOptions

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


@dataclass(frozen=True)
class Negative(Degradation):
    """Exact in 8 bits."""

    name = "negative"

    def apply(self, image, rng):
        return (255 - np.rint(255 * image)).astype("float32") / 255


@pytest.fixture
def pairs(tmp_path):
    """Folders of photos, of their negatives and of both enlarged twice."""
    photo = skimage.data.coffee()
    for i in range(6):
        part = photo[60 * i :][:48, 80 * i :][:, :64]
        versions = {"clean": part, "negatives": 255 - part, "large": part.repeat(2, axis=0).repeat(2, axis=1)}
        for folder, version in versions.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(version).save(tmp_path / folder / f"{i}.{'bmp' if folder == 'negatives' else 'png'}")
    return tmp_path


def of(folder, data, target):
    return ["--data", str(folder / data), "--target", str(folder / target)]


def figures(folder, name):
    return json.loads((folder / "models" / name / "metrics.json").read_text())


@pytest.mark.slow
def test_pairs_train_as_their_degradation_does_bit_for_bit(pairs):
    from keras_recon.training.train import train

    options = {"batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1}
    weights = []
    for name, data, target, degradation in (("a", "clean", None, Negative()), ("b", "negatives", "clean", None)):
        photos = load_photos(pairs / data, target=target and pairs / target)
        keras.utils.set_random_seed(0)
        model = ViTReconstructor((16, 16, 3), patch_size=4, latent_dim=5, num_layers=1, decoder_num_layers=1)
        train(model, *photos, pairs / name, TrainingOptions(degradation=degradation, **options), finish=False)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_paired_run_and_what_is_done_with_it(pairs, capsys):
    train_autoencoder.main(tiny("autoencoder", pairs, "pairs", "--latent-dim", "3", *of(pairs, "negatives", "clean")))
    assert f"pairs of {pairs / 'negatives'} and {pairs / 'clean'}" in capsys.readouterr().out
    report = figures(pairs, "pairs")
    negative = report["results"]["input"]["psnr"]
    assert report["protocol"]["degradation"] == "as in the pairs"
    assert report["results"]["pca"]["psnr"] > negative + 5  # the linear map knows negatives
    run = str(pairs / "models" / "pairs")
    compare.main([run, *where(pairs, "x")[:4]])
    content = json.loads((pairs / "models" / "comparison" / "comparison.json").read_text())
    assert list(content["rows"]) == ["pairs", "pca", "mean", "input"]
    assert content["rows"]["input"]["psnr"] == pytest.approx(negative, abs=0.02)
    assert content["remarks"] == [f"{', '.join(CODECS)}: left out, as they do not undo what is wrong in the pairs."]
    evaluated = ["--eval", str(pairs / "negatives"), "--eval-target", str(pairs / "clean"), "--stride", "16"]
    compare.main([run, *where(pairs, "x")[:4], *evaluated, "--name", "eval"])
    content = json.loads((pairs / "models" / "eval" / "comparison.json").read_text())
    assert content["protocol"]["evaluated"].startswith("72 crops of 16x16 pixels of 6 photos")
    with pytest.raises(SystemExit):
        compare.main([run, *where(pairs, "x")[:4], "--eval", str(pairs / "clean"), "--name", "alone"])
    assert "--eval must have pairs" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:  # whose references have other suffixes
        arguments = ["--model", run, "--reference", str(pairs / "clean"), "--output", str(pairs / "out")]
        reconstruct.main([str(pairs / "negatives"), *arguments])
    assert exit_.value.code == 0
    summary = json.loads((pairs / "out" / "summary.json").read_text())
    assert summary["results"]["photos"] == 6 and summary["results"]["psnr"] > negative


@pytest.mark.parametrize("upscale", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_targets_that_are_larger(pairs, upscale, capsys, caplog):
    more = ["--upscale", str(upscale), *of(pairs, "clean", "large")]
    train_restoration.main(tiny("restoration", pairs, "large", *more))
    results = figures(pairs, "large")["results"]
    model = keras.saving.load_model(pairs / "models" / "large" / "model.keras")
    assert model.upscale == upscale and results.keys() == {"model", "input", *(("pca", "mean") * (upscale == 1))}
    assert ("enlarged 2 times by bicubic interpolation" in caplog.text) == (upscale == 1)
    if upscale == 2:  # it begins at repeated pixels, as the targets are
        assert results["model"]["psnr"] > results["input"]["psnr"]
    with Image.open(pairs / "models" / "large" / "reconstructions.png") as picture:
        assert picture.width > 300


def test_plain_photos_are_downscaled_for_a_model_that_enlarges(pairs):
    train_restoration.main(tiny("restoration", pairs, "plain", "--upscale", "2", "--data", str(pairs / "large")))
    report = figures(pairs, "plain")
    assert report["results"].keys() == {"model", "input"}
    assert report["protocol"]["degradation"] == "clean crops downscaled 2 times (bicubic), then none"
    model = keras.saving.load_model(pairs / "models" / "plain" / "model.keras")
    assert model.upscale == 2 and model.image_shape == (16, 16, 3)


@pytest.mark.slow
def test_training_goes_on_from_a_trained_model(pairs, capsys):
    model = RestorationUNet((32, 32, 3), filters=(5, 7), num_blocks=1)
    keras.utils.set_random_seed(1)
    model.set_weights([0.1 * np.random.randn(*w.shape) for w in model.get_weights()])
    model.save(pairs / "trained.keras")
    frozen = ["--learning-rate", "0", "--ema-momentum", "0", "--init", str(pairs / "trained.keras")]
    arguments = ["--smoke", "--image-size", "16", *where(pairs, "on"), *frozen, *of(pairs, "negatives", "clean")]
    train_restoration.main(arguments)
    loaded = keras.saving.load_model(pairs / "models" / "on" / "model.keras")
    assert loaded.filters == (5, 7) and loaded.image_shape == (16, 16, 3)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_linear_path_that_was_fitted_stays(pairs):
    train_autoencoder.main(tiny("autoencoder", pairs, "first", "--data", str(pairs / "clean")))
    first = keras.saving.load_model(pairs / "models" / "first" / "model.keras")
    frozen = ["--learning-rate", "0", "--ema-momentum", "0", "--init", str(pairs / "models" / "first")]
    arguments = ["--smoke", "--image-size", "16", *where(pairs, "second"), *frozen, *of(pairs, "negatives", "clean")]
    train_autoencoder.main(arguments)
    second = keras.saving.load_model(pairs / "models" / "second" / "model.keras")
    for a, b in zip(first.linear.get_weights(), second.linear.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def refusal(capsys, main, *argv):
    with pytest.raises(SystemExit) as exit_:
        main([*argv])
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_mistakes_are_refused(pairs, capsys):
    smoke = ["--smoke", "--image-size", "16", *where(pairs, "wrong")]
    paired = [*smoke, *of(pairs, "negatives", "clean")]
    noisy = refusal(capsys, train_vit.main, *paired, "--degradation", "noise:25")
    assert "--degradation must be none where pairs of photos have theirs. Received: degradation='noise:25'" in noisy
    assert "--target must be that of a --data" in refusal(capsys, train_vit.main, *smoke, "--target", str(pairs))
    alone = refusal(capsys, train_vit.main, *paired, "--val-target", str(pairs))
    assert "--val-target must be that of a --val-data" in alone
    gone = refusal(capsys, train_vit.main, *smoke, "--data", str(pairs / "clean"), "--target", "nowhere")
    assert "--target must be a folder of images that is there. Received: target='nowhere'" in gone
    own = refusal(capsys, train_vit.main, *smoke, "--init", "vit", "--num-layers", "2")
    assert "--init keeps the architecture of its model. Received: --num-layers" in own
    other = refusal(capsys, train_vit.main, *smoke, "--init", "denoise")
    assert "--init must be a ViTReconstructor for train_vit.py. Received: denoise, a RestorationUNet" in other
    assert "must be (64, 64, 3), because its weights depend on it" in refusal(
        capsys, train_vit.main, *smoke, "--init", "vit"
    )
    larger = ["--upscale", "4", *of(pairs, "clean", "large")]
    large = refusal(capsys, train_restoration.main, *smoke, *larger)
    assert "A model that enlarges 4 times must have pairs whose targets are 4 times as high and wide" in large
    assert not (pairs / "models" / "wrong").exists()


def test_the_default_degradation_makes_way_for_pairs(pairs):
    argv = ["--run-name", "a", "--saved-models", str(pairs)]
    assert parse(RestorationConfig, argv, "restoration", "")[0].degradation == "noise:0-50"
    assert parse(RestorationConfig, [*argv, *of(pairs, "negatives", "clean")], "r", "")[0].degradation is None
    assert parse(RestorationConfig, [*argv, "--upscale", "2"], "r", "")[0].degradation is None
    assert parse(RestorationConfig, [*argv, "--upscale", "2", "--degradation", "jpeg:30"], "r", "")[0].degradation


def test_the_doctor_knows_pairs(pairs, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.1)
    RestorationUNet((16, 16, 3), filters=(6,), num_blocks=1, upscale=2).save(pairs / "model.keras")
    arguments = ["--model", str(pairs / "model.keras"), "--batch-size", "2", *of(pairs, "clean", "large")]
    assert doctor.main(arguments) == 0
    report = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert report["photos"] == "5 for training, 1 for validation: pairs, targets 2 times the size"
    assert report["channels"] == "5 RGB" and "sets the pace" in report["verdict"]
