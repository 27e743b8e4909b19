import re

import numpy as np
import pytest
from models.test_vit import TINY
from PIL import Image

from keras_recon import doctor, models

pytest.importorskip("tensorflow", reason="the loader needs TensorFlow")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for part in ("train", "val"):
        (folder / part).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((30 + i, 40, 3), 60 * i, "uint8")).save(folder / part / f"{i}.png")
    Image.new("L", (12, 9)).save(folder / "train" / "gray.png")
    return folder


@pytest.fixture
def model(tmp_path):
    models.ViTReconstructor(**TINY).save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def test_a_clean_folder(photos, model, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.3)
    assert doctor.main(["--data", str(photos), "--model", model, "--batch-size", "4"]) == 0
    report = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert report["photos"] == "5 for training, 4 for validation"
    assert report["sizes"].startswith("9 to 33 high, 12 to 40 wide")
    assert report["channels"] == "4 RGB, 1 L"
    assert report["small"].startswith("1 of 9") and report["bad"] == "0 of 9 that were decoded"
    assert report["load"].startswith("import keras_recon, then keras.saving.load_model")
    count = models.ViTReconstructor(**TINY).count_params()
    assert "16x16x3 to 4x4x5 latent values" in report["model"] and int(report["memory"].split()[0]) < count
    cold, warm, speed = (
        float(re.match(r"[\d,]+", report[name])[0].replace(",", "")) for name in ("cold", "warm", "training")
    )
    assert cold > 0 and warm > 0 and speed > 0
    pace = "model" if cold > speed else "loader, until photos are decoded," if warm > speed else "loader"
    assert report["verdict"] == f"the {pace} sets the pace" or speed in (cold, warm)


def test_bad_files_are_listed_and_count(photos, model, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.1)
    whole = (photos / "train" / "1.png").read_bytes()
    (photos / "train" / "torn.png").write_bytes(whole[:60])
    (photos / "val" / "empty.jpg").touch()
    assert doctor.main(["--data", str(photos), "--model", model]) == 1
    out = capsys.readouterr().out
    assert "2 of 11 that were decoded" in out and "'torn.png': " in out and "'empty.jpg': cannot identify" in out


@pytest.mark.parametrize("argument", ["--data", "--model"])
def test_what_is_not_there_is_said(tmp_path, capsys, argument):
    (tmp_path / "model.keras").write_text("no archive")
    path = {"--data": tmp_path / "nowhere", "--model": tmp_path / "model.keras"}[argument]
    assert doctor.main([argument, str(path)]) == 1
    assert re.match(rf"error: .*{path}", capsys.readouterr().err)
