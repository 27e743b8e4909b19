import dataclasses
import json

import compare
import keras
import numpy as np
import pytest
import skimage.data
import train_autoencoder
from app import jobs
from app.jobs import Job, Spec
from contracts import random_images
from examples.tiny_runs import SYSTEMS, tiny
from keras import ops
from PIL import Image

import keras_recon
from keras_recon.data import Photos
from keras_recon.evaluation.rate import CODECS
from keras_recon.utils.run import Run

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
VIT, CONV = "vit --smoke --patch-size 4 --latent-dim 3", "conv=autoencoder --smoke --filters 8,8 --latent-dim 3"
SMALL = ["--image-size", "16", "--batch-size", "4", "--steps", "6", "--epochs", "2", "--name", "small"]


def where(folder):
    return ["--saved-models", str(folder / "models"), "--logs", str(folder / "runs")]


def fake_run(folder, latent_values=48, **changes):
    """The files of a finished run that are read before anything trains."""
    folder.mkdir(parents=True)
    config = {**dataclasses.asdict(jobs.RunConfig()), "image_size": "16", **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps({"results": {"model": {"latent values": latent_values}}}))
    return str(folder)


def refusal(capsys, *argv):
    with pytest.raises(SystemExit) as exit_:
        compare.parse(list(argv))
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["gan"], "SPEC='gan'"),
        (["vit --seed 3"], "--seed must be the same for all runs"),
        (["vit --epoch=3"], "--epoch must be the same for all runs"),
        (["vit --num-layers no"], "invalid int value: 'no'"),
        (["vit", "vit"], "labels must differ"),
        (["pca=vit"], "labels must differ"),
        (["vit", "--steps", "7", "--epochs", "2"], "multiple of the 2 --epochs. Received: 7"),
        (["vit", "--minutes", "0"], "--minutes must be above 0"),
        (["vit", "--steps", "6", "--minutes", "1"], "not allowed with"),
        (["vit", "--eval", "nowhere"], "--eval must be a folder of photos. Received: nowhere"),
    ],
)
def test_mistakes_are_named(capsys, argv, message):
    assert message in refusal(capsys, *argv)


def test_specs():
    assert Spec.parse("lora=autoencoder --filters 8,8") == Spec("lora", None, "autoencoder", ("--filters", "8,8"))
    assert Spec.parse("vit --patch-size=4").label == "vit-patch-size-4"


def test_finished_runs_must_fit_together(tmp_path, capsys):
    first = fake_run(tmp_path / "first")
    assert "first (16, 16, 3), degradation None, sample, 48; b (16, 16, 3), degradation None, sample, 96" in refusal(
        capsys, first, "b=" + fake_run(tmp_path / "b", latent_values=96)
    )
    elsewhere = fake_run(tmp_path / "elsewhere", data="photos/")
    assert "the data 'sample' (or be evaluated by --eval)" in refusal(capsys, first, elsewhere)
    plan, _ = compare.parse([first, elsewhere, "--eval", str(tmp_path)])
    assert plan.shared["data"] == "sample"
    assert "one number of latent values" in refusal(capsys, first, fake_run(tmp_path / "gray", channels=1))
    noisy = fake_run(tmp_path / "noisy", degradation="noise:25")
    assert "first (16, 16, 3), degradation None, sample, 48; noisy" in refusal(capsys, first, noisy)
    assert "the degradation noise:25 and" in refusal(capsys, first, noisy, "--degradation", "noise:25")
    assert "image shape (32, 32, 3)" in refusal(capsys, first, "--image-size", "32")
    masked = fake_run(tmp_path / "masked", mask_ratio=0.75)
    assert "must see whole images, not masked ones. Received: the masked run masked" in refusal(capsys, first, masked)
    (tmp_path / "unfinished").mkdir()
    assert "must be a finished run's" in refusal(capsys, str(tmp_path / "unfinished"))


def test_runs_that_held_out_other_photos_are_refused(tmp_path):
    photos = Photos(["a.png"], read=None, paths={"a.png": (tmp_path / "a.png",)})
    run = Run(fake_run(tmp_path / "run", data="photos/"))
    for protocol in ({}, {"validation photos": f"1, hash of their names {photos.subset(['b.png']).fingerprint}"}):
        run.finish({}, protocol)
        with pytest.raises(ValueError, match=r"held out other photos of photos/.*--eval"):
            jobs.check_held_out({"run": [run]}, photos)
        jobs.check_held_out({"run": [run]}, Photos(["camera"], read=None))  # of the sample, which no version divides
    run.finish({}, {"validation photos": f"1, hash of their names {photos.fingerprint}"})
    jobs.check_held_out({"run": [run]}, photos)


def test_other_photos_for_validation_are_other_data(tmp_path, capsys):
    first, other = fake_run(tmp_path / "first"), fake_run(tmp_path / "other", val_data=str(tmp_path))
    assert f"other (16, 16, 3), degradation None, sample, {tmp_path}, 48" in refusal(capsys, first, other)


def test_runs_from_before_there_were_degradations_have_none(tmp_path, capsys):
    first = fake_run(tmp_path / "first")
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    del config["degradation"]
    (tmp_path / "first" / "config.json").write_text(json.dumps(config))
    _, (job,) = compare.parse([first, fake_run(tmp_path / "second"), "vit --patch-size 4 --latent-dim 3"])
    assert job.config.degradation is None
    assert "the degradation gray" in refusal(capsys, first, "--degradation", "gray")


def test_trainings_take_the_settings_of_a_finished_run(tmp_path):
    first = fake_run(tmp_path / "first", batch_size=7, epochs=5, steps_per_epoch=30, degradation="noise:25")
    _, (job,) = compare.parse([first, "vit --patch-size 4 --latent-dim 3"])
    config = job.config
    assert (config.image_size, config.batch_size, config.epochs, config.steps_per_epoch) == ("16", 7, 5, 30)
    assert config.degradation == "noise:25"


def test_a_run_of_other_settings_is_not_taken(tmp_path, capsys):
    (job,) = compare.parse([VIT, *SMALL, *where(tmp_path)])[1]
    job.config.run.begin(dataclasses.asdict(job.config))
    assert compare.parse([VIT, *SMALL, *where(tmp_path)])[1] == [job]
    text = refusal(capsys, VIT, *SMALL, *where(tmp_path), "--loss", "l1")
    assert "loss='mse': choose another --name. Received: loss='l1'" in text


def test_steps_that_fill_minutes(tmp_path):
    # A step takes 0.1 s, validation 2 s, the start 10 s: 4 epochs of a minute leave (50 / 4 - 2) / 0.1 steps each.
    log = "epoch,images_per_second,seconds\n0,160,27.0\n1,160,17.0\n"
    (tmp_path / "log.csv").write_text(log)
    assert jobs.steps_within(1, epochs=4, batch_size=16, calibration=tmp_path) == pytest.approx(105, abs=1)
    with pytest.raises(ValueError, match=r"--minutes must be at least 0\.31 .* Received: 0\.3$"):
        jobs.steps_within(0.3, epochs=4, batch_size=16, calibration=tmp_path)


@pytest.mark.slow
def test_a_comparison_from_training_to_verdicts(tmp_path, capfd):
    arguments = [VIT, CONV, *SMALL, *where(tmp_path)]
    unfinished: Job = compare.parse(arguments)[1][1]  # as killed before its first epoch ended
    unfinished.config.run.begin(dataclasses.asdict(unfinished.config))
    compare.main(arguments)
    printed = capfd.readouterr().out
    assert "conv-seed0: train_autoencoder.py --resume" in printed
    assert "The autoencoder is an efficient baseline" in printed and "pretrained" not in printed
    told, paths = printed[printed.index("Comparing on") :].split(str(tmp_path), 1)
    assert "comparison.md" in paths and max(map(len, told.splitlines())) <= 80
    folder = tmp_path / "models" / "small"
    content = json.loads((folder / "comparison.json").read_text())
    rows = content["rows"]
    assert list(rows) == ["vit-smoke-patch-size-4-latent-dim-3", "conv", "pca", "mean", *CODECS]
    # The validation crops again: the figures of the training script.
    for label in list(rows)[:2]:
        results = json.loads((folder / f"{label}-seed0" / "metrics.json").read_text())["results"]
        assert rows[label]["psnr"] == pytest.approx(results["model"]["psnr"], abs=1e-3)
    finished = folder / "conv-seed0"
    trained = (finished / "model.keras").stat().st_mtime
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, height in enumerate((80, 48)):
        Image.fromarray(skimage.data.coffee()[:height, : 48 + 16 * i]).save(photos / f"{i}.png")
    compare.main([str(finished), *where(tmp_path), "--eval", str(photos), "--stride", "32", "--name", "other"])
    assert (finished / "model.keras").stat().st_mtime == trained
    content = json.loads((tmp_path / "models" / "other" / "comparison.json").read_text())
    assert content["protocol"]["evaluated"].startswith("10 crops of 16x16 pixels of 2 photos in")  # 3 * 2 and 2 * 2
    assert content["protocol"]["intervals"].startswith("over photos")
    # A row alone is judged by nobody.
    assert content["verdicts"] == [] and "NOT DECIDED" not in capfd.readouterr().out


@keras.saving.register_keras_serializable("tests")
class Rough(keras.losses.Loss):
    """A loss that a user wrote."""

    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** 1.5, axis=-1)


@pytest.mark.slow
def test_runs_of_the_python_api_are_compared(tmp_path, capfd):
    images = list(random_images(8, 32, 32, 3))
    photos = keras_recon.data.load_photos((images[:5], images[5:]))
    sizes = {"num_layers": 1, "hidden_dim": 16, "decoder_num_layers": 1, "decoder_hidden_dim": 16}
    vit = keras_recon.models.ViTReconstructor((16, 16, 3), patch_size=4, latent_dim=3, **sizes)
    conv = keras_recon.models.ConvAutoencoder((16, 16, 3), (8, 8), latent_dim=3)
    for name, model, loss in (("vit", vit, Rough()), ("conv", conv, keras.losses.huber)):
        options = keras_recon.TrainingOptions(batch_size=4, epochs=2, steps_per_epoch=3, loss=loss, learning_rate=1e-3)
        results = keras_recon.train(model, *photos, tmp_path / name, options)
        assert list(results) == ["model", "pca", "mean"]
        with pytest.raises(ValueError, match=r"`run` must be a new or an unfinished run\. Received"):
            keras_recon.train(model, *photos, tmp_path / name, options)
    evaluated = tmp_path / "photos"
    evaluated.mkdir()
    for i in range(2):
        Image.fromarray(skimage.data.coffee()[:48, : 48 + 16 * i]).save(evaluated / f"{i}.png")
    specs = [str(tmp_path / "vit"), str(tmp_path / "conv")]
    compare.main([*specs, *where(tmp_path), "--eval", str(evaluated), "--stride", "32"])
    content = json.loads((tmp_path / "models" / "comparison" / "comparison.json").read_text())
    assert list(content["rows"]) == ["vit", "conv", "pca", "mean", *CODECS]
    assert content["protocol"]["training data"] == "photos as given"
    assert "Rough" in str(content["protocol"]) and "huber" in str(content["protocol"])
    assert content["verdicts"]  # both were trained and validated on the same photos


@pytest.mark.slow
def test_a_denoising_run_and_its_comparison(tmp_path):
    noisy = ["--latent-dim", "48", "--degradation", "noise:25"]
    train_autoencoder.main(tiny("autoencoder", tmp_path, "noisy", *noisy))
    report = json.loads((tmp_path / "models" / "noisy" / "metrics.json").read_text())
    results = report["results"]
    assert results["input"]["psnr"] == pytest.approx(-20 * np.log10(25 / 255), abs=0.1)
    # All values of a patch: the best linear map removes much of the noise already, and there the network starts.
    assert results["pca"]["psnr"] > results["input"]["psnr"] + 4
    assert results["model"]["psnr"] > results["pca"]["psnr"] - 0.1
    compare.main([str(tmp_path / "models" / "noisy"), *where(tmp_path)])
    content = json.loads((tmp_path / "models" / "comparison" / "comparison.json").read_text())
    assert list(content["rows"]) == ["noisy", "pca", "mean", "input"]
    for row, of_run in (("noisy", "model"), ("input", "input")):
        assert content["rows"][row]["psnr"] == pytest.approx(results[of_run]["psnr"], abs=0.02)
    assert content["remarks"][0] == f"{', '.join(CODECS)}: left out, as they do not undo noise:25."
    assert content["protocol"]["degradation"] == report["protocol"]["degradation"] == "noise:25"


@pytest.fixture
def photo_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(skimage.data.coffee()[:128, :192]).save(tmp_path / "photos" / "coffee.png")
    return tmp_path / "photos"


@pytest.mark.slow
def test_presets_are_rows(tmp_path, photo_folder, capfd):
    arguments = [*where(tmp_path), "--eval", str(photo_folder), "--stride", "64"]
    compare.main(["preset:vit", "conv=preset:autoencoder", *arguments])
    content = json.loads((tmp_path / "models" / "comparison" / "comparison.json").read_text())
    rows = content["rows"]
    assert list(rows) == ["vit", "conv", "pca", "mean", *CODECS] and content["verdicts"] == []
    assert rows["vit"]["latent values"] == rows["pca"]["latent values"] == 768
    assert rows["vit"]["psnr"] > rows["pca"]["psnr"] and "steps" not in rows["vit"]
    assert content["protocol"]["presets"].startswith("vit, conv: trained on other photos")
    assert "vit" in capfd.readouterr().out


@pytest.mark.parametrize(
    "specs, message",
    [
        (["preset:vim"], "or one of ['denoise'"),
        (["preset:upscale2"], "must not enlarge, to be compared. Received: the preset upscale2"),
        (["preset:vit", "--image-size", "32"], "must be (64, 64, 3)"),
    ],
)
def test_presets_that_do_not_fit_are_refused(tmp_path, photo_folder, capsys, specs, message):
    with pytest.raises(SystemExit) as exit_:
        compare.main([*specs, *where(tmp_path), "--eval", str(photo_folder)])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_a_budget_of_minutes(tmp_path):
    minutes = ["--image-size", "16", "--batch-size", "4", "--epochs", "3", "--name", "small", "--minutes", "0.4"]
    compare.main([f"vit=vit --smoke {' '.join(SYSTEMS['vit'][2:])}", *minutes, *where(tmp_path)])
    rows = json.loads((tmp_path / "models" / "small" / "comparison.json").read_text())["rows"]
    assert rows["vit"]["steps"] > 150
    # Calibration and training may find the machine as busy as each other, or not at all.
    assert 0.4 * 24 < rows["vit"]["seconds"] < 1.8 * 24
