import json

import detect_anomalies
import keras
import numpy as np
import pytest
from models.test_vit import TINY
from PIL import Image
from test_anomaly import make_dataset

from keras_recon import data
from keras_recon.models import ViTReconstructor

pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")


def save_model(folder, **config):
    model = ViTReconstructor(**{**TINY, "image_shape": (16, 16, 1), "latent_dim": 2, **config})
    model.adapt(data.grid_crops(data.folder_photos(folder.parent / "data/train", channels=1), (16, 16), 4))
    folder.mkdir()
    model.save(folder / "model.keras")


def test_it_finds_the_defects_of_a_folder(tmp_path, capsys):
    make_dataset(tmp_path / "data")
    save_model(tmp_path / "vit")
    output = tmp_path / "out"
    arguments = ["--models", str(tmp_path / "vit"), "--sigma", "1", "--output", str(output)]
    detect_anomalies.main([str(tmp_path / "data"), *arguments])
    written = json.loads((output / "anomalies.json").read_text())
    results, scores = written["results"], written["image scores"]
    assert {score["kind"] for score in scores} == {"good", "hole", "scratch"}
    worst_good = max(score["vit"] for score in scores if score["kind"] == "good")
    assert all(score["vit"] > worst_good for score in scores if score["kind"] != "good")
    assert list(results) == ["vit", "pca"]
    for row in results.values():
        assert row["image AUROC"] == row["hole"] == row["scratch"] == 1.0
        assert row["pixel AUROC"] > 0.9
    with Image.open(output / "anomalies.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10
    assert "pixel AUROC" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["data/train", "--models", "vit"], "FOLDER must have train/good and test/good"),
        (["data", "--models", "nothing"], "--models must be folders of finished runs"),
        (["data", "--models", "vit", "--sigma", "-1"], "sigma=-1"),
        (["data", "--models", "vit", "vit"], "--models must be folders of different names"),
    ],
)
def test_what_cannot_work_is_refused_at_once(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data")
    save_model(tmp_path / "vit")
    with pytest.raises(SystemExit) as exit_:
        detect_anomalies.main(arguments)
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_models_of_different_channels_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data")
    save_model(tmp_path / "gray")
    model = ViTReconstructor(**{**TINY, "image_shape": (16, 16, 3)})
    (tmp_path / "rgb").mkdir()
    model.save(tmp_path / "rgb/model.keras")
    assert keras.saving.load_model("rgb/model.keras").image_shape[-1] == 3
    with pytest.raises(SystemExit, match="one number of channels"):
        detect_anomalies.main(["data", "--models", "gray", "rgb"])
