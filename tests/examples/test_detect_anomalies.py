import json

import detect_anomalies
import numpy as np
import pytest
from anomaly.made_dataset import make_dataset
from models.test_vit import TINY
from models.tiny_backbones import save_as_hugging_face, tiny_backbone
from PIL import Image

from keras_recon import data, load_model
from keras_recon.anomaly import AnomalyDetector
from keras_recon.models import ViTReconstructor

pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Runs of models for gray and RGB images, and a data set."""
    folder = tmp_path_factory.mktemp("anomalies")
    make_dataset(folder / "data")
    for name, channels in (("vit", 1), ("rgb", 3)):
        model = ViTReconstructor(**{**TINY, "image_shape": (16, 16, channels), "latent_dim": 2})
        model.adapt(data.grid_crops(data.folder_photos(folder / "data/train", channels=channels), (16, 16), 4))
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
    return folder


@pytest.fixture
def folder(shared, monkeypatch):
    monkeypatch.chdir(shared)
    return shared


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        detect_anomalies.main([*map(str, arguments)])
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_it_finds_the_defects_of_a_folder(folder, tmp_path, capsys):
    arguments = ["data", "--models", "vit", "--sigma", "1", "--output", str(tmp_path)]
    detect_anomalies.main(arguments)
    written = json.loads((tmp_path / "anomalies.json").read_text())
    results, scores = written["results"], written["image scores"]
    assert {score["kind"] for score in scores} == {"good", "hole", "scratch"}
    worst_good = max(score["vit"] for score in scores if score["kind"] == "good")
    assert all(score["vit"] > worst_good for score in scores if score["kind"] != "good")
    assert list(results) == ["vit", "pca"]
    for row in results.values():
        assert row["image AUROC"] == row["hole"] == row["scratch"] == 1.0
        assert row["pixel AUROC"] > 0.9
    with Image.open(tmp_path / "anomalies.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10
    printed = capsys.readouterr().out
    assert "scratch" in printed and "trial" not in printed and str(tmp_path / "anomalies.json") in printed
    assert written["protocol"]["small images"] is None
    assert "choose another --output" in refusal(capsys, *arguments)
    assert json.loads((tmp_path / "anomalies.json").read_text()) == written


def test_detectors_need_no_run(folder, tmp_path, capsys):
    preset = save_as_hugging_face(tiny_backbone(), tmp_path / "preset")
    arguments = ["data", "--methods", "gaussian", "nearest", "--preset", preset, "--side", 32]
    arguments += ["--cache", tmp_path / "cache"]
    detect_anomalies.main([*map(str, [*arguments, "--output", tmp_path / "found"])])
    written = json.loads((tmp_path / "found" / "anomalies.json").read_text())
    assert list(written["results"]) == ["gaussian detector", "nearest detector"]
    for name, row in written["results"].items():
        assert row["image AUROC"] == 1.0 and {"AUPRO", "F1", "false alarms"} <= {*row}
        assert written["95 % intervals"][name]["image AUROC"] == [1.0, 1.0]
    with Image.open(tmp_path / "found" / "anomalies.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10
    detector = load_model(tmp_path / "found" / "nearest.keras", AnomalyDetector)
    (score,) = (s for s in written["image scores"] if s["path"].endswith("hole/0.png"))
    assert detector.detect("data/test/hole/0.png").map.max() == pytest.approx(score["nearest detector"], rel=1e-3)
    assert not {"pca", "models", "error map"} & {*written["protocol"]}
    assert "AUPRO" in capsys.readouterr().out


@pytest.mark.slow
def test_detectors_stand_beside_runs_with_good_photos_of_ones_own_for_the_threshold(folder, tmp_path):
    preset = save_as_hugging_face(tiny_backbone(), tmp_path / "preset")
    arguments = ["data", "--models", "vit", "--methods", "nearest", "--preset", preset, "--side", 32]
    arguments += ["--held-out", "data/test/good", "--false-alarms", 0.25, "--output", tmp_path / "found"]
    detect_anomalies.main([*map(str, arguments)])
    written = json.loads((tmp_path / "found" / "anomalies.json").read_text())
    assert list(written["results"]) == ["vit", "pca", "nearest detector"]
    assert {"detectors", "seconds to fit", "error map", "pca", "models"} <= {*written["protocol"]}
    assert "false alarms" not in written["results"]["vit"]
    assert written["results"]["nearest detector"]["false alarms"] <= 0.25  # of the photos that set the threshold


def test_images_smaller_than_a_tile_are_a_trial():
    models = {"a": ViTReconstructor(**TINY), "b": ViTReconstructor(**{**TINY, "image_shape": (16, 32, 3)})}
    photos = [np.zeros((*size, 3)) for size in ((16, 32), (40, 31), (15, 40), (16, 16))]
    text = "3 of 4 test images are smaller than a model's tiles"
    assert detect_anomalies.of_small(photos, models).startswith(text)
    assert detect_anomalies.of_small(photos[:1], models) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["data/train", "--models", "vit"], "FOLDER must have train/good and test/good"),
        (["data"], "--models or --methods must be given"),
        (["data", "--methods", "nearest"], "--methods and --preset go together"),
        (["data", "--methods", "best", "--preset", "x"], "invalid choice: 'best'"),
        (["data", "--methods", "nearest", "--preset", "nothing"], "preset='nothing'"),
        (["data", "--models", "nothing"], "--models must be folders of finished runs"),
        (["data", "--models", "data"], "Received: path='data/model.keras', which does not exist"),
        (["data", "--models", "vit", "--sigma", "-1"], "sigma=-1"),
        (["data", "--models", "vit", "vit"], "--models must be folders of different names"),
        (["data", "--models", "vit", "rgb"], "--models must be of one number of channels"),
        (["data", "--models", "vit", "--output", "data/train/good/0.png"], "File exists: 'data/train"),
    ],
)
def test_what_cannot_work_is_refused(folder, capsys, arguments, message):
    assert message in refusal(capsys, *arguments)
