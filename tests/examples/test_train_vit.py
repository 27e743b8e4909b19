import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import train_vit
from contracts import outputs_of
from examples.tiny_runs import tiny, where
from PIL import Image

from keras_recon.models import ViTReconstructor

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
SCRIPT = Path(train_vit.__file__)


def test_a_run_leaves_everything_the_readme_names(tmp_path, capsys):
    train_vit.main(tiny("vit", tmp_path, "smoke"))
    run = tmp_path / "models" / "smoke"
    expected = {"model.keras", "parity.json", "config.json", "metrics.json", "reconstructions.png", "log.csv"}
    if keras.backend.backend() != "torch":
        expected.add("savedmodel")
    assert {path.name for path in run.iterdir()} == expected
    results = json.loads((run / "metrics.json").read_text())["results"]
    # Six steps are no training, but must not throw the start at PCA away.
    assert results["model"]["psnr"] > results["pca"]["psnr"] - 0.05 > results["mean"]["psnr"]
    assert results["model"]["latent values"] == results["pca"]["latent values"]
    assert 0 < results["model"]["trainable parameters"] < results["model"]["parameters"]
    with Image.open(run / "reconstructions.png") as picture:
        assert picture.width > 300
    printed = capsys.readouterr().out
    assert "compression" in printed and str(run / "model.keras") in printed
    with open(run / "log.csv", newline="") as file:
        first, second = (float(row["val_psnr"]) for row in csv.DictReader(file))
    assert ("are those of the first epoch: later ones were worse" in printed) == (first >= second)
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    outputs = outputs_of(keras.saving.load_model(run / "model.keras"), images)
    savedmodel = run / "savedmodel"
    if keras.backend.backend() == "torch":  # the printed command must do what it says
        savedmodel = run / "export" / "savedmodel"
        command = next(line for line in printed.splitlines() if line.startswith("KERAS_BACKEND=tensorflow"))
        subprocess.run(command, shell=True, check=True)
    import tensorflow as tf

    served = tf.saved_model.load(str(savedmodel))
    np.testing.assert_allclose(served.serve(images), outputs, atol=1e-5)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--num-heads", "3"], "num_heads=3"),  # refused by the model
        (["--loss", "huber"], "loss='huber'"),
        (["--learning-rate", "1e30", "--no-linear-path"], "the loss came to"),  # by the training
        (  # by tf.data
            ["--data", "photos", "--on-bad-image", "error"],
            "Cannot read the image a.png: cannot identify image file: its format must be one of PNG, JPEG",
        ),
    ],
)
def test_a_run_that_fails_says_why_and_leaves_its_name_free(tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        Path("photos", part).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(Path("photos", part, "b.png"))
    Path("photos/train/a.png").write_text("no image")
    with pytest.raises(SystemExit) as exit_:
        train_vit.main(tiny("vit", tmp_path, "wrong", *more))
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "models" / "wrong").exists() and not (tmp_path / "runs" / "wrong").exists()


def test_a_failure_after_an_epoch_leaves_what_resumes(tmp_path, monkeypatch):
    def train(model, training, validation, run, *args, **kwargs):
        run.log.write_text("epoch\n0\n")
        raise RuntimeError("out of memory")

    monkeypatch.setattr("app.launch.train", train)
    with pytest.raises(SystemExit):
        train_vit.main(tiny("vit", tmp_path, "late"))
    assert (tmp_path / "models" / "late" / "config.json").exists()


def test_a_folder_that_was_there_before_a_failure_stays(tmp_path):
    notes = tmp_path / "models" / "wrong" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.touch()
    with pytest.raises(SystemExit):
        train_vit.main(tiny("vit", tmp_path, "wrong", "--loss", "huber"))
    assert notes.exists()


def test_help_names_the_default_variants_sizes(capsys):
    with pytest.raises(SystemExit):
        train_vit.main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    for name, value in ViTReconstructor.variants["micro"].items():
        assert re.search(rf"--{name.replace('_', '-')} [A-Z_]+ [^()]+ \(micro: {value}\)", words), name


@pytest.mark.slow
def test_the_default_recipe_keeps_the_start_at_pca(tmp_path):
    options = ["--epochs", "1", "--steps-per-epoch", "100", "--warmup-steps", "99"]  # the first epoch of the default
    train_vit.main([*where(tmp_path, "one"), *options])
    run = tmp_path / "models" / "one"
    pca = json.loads((run / "metrics.json").read_text())["results"]["pca"]["psnr"]
    with open(run / "log.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["val_psnr"]) >= pca


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path):
    settings = ["--epochs", "40", "--dropout-rate", "0.1", "--drop-path-rate", "0.1", "--ema-momentum", "0.9"]
    settings += ["--steps-per-epoch", "8"]  # enough for XLA
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(name, *more):
        command = [sys.executable, SCRIPT, *tiny("vit", tmp_path, name, *more)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    assert start("whole", *settings).wait() == 0
    state = tmp_path / "models" / "killed" / "training"
    process = start("killed", *settings)
    while not list(state.glob("step-[1-9]*.weights.h5")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert start("killed", "--resume").wait() == 0
    whole, killed = (
        keras.saving.load_model(tmp_path / "models" / name / "model.keras") for name in ("whole", "killed")
    )
    for a, b in zip(whole.get_weights(), killed.get_weights()):
        np.testing.assert_array_equal(a, b)
    logs = [(tmp_path / "models" / name / "log.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert [line.split(",")[0] for line in logs[0]] == [line.split(",")[0] for line in logs[1]]
