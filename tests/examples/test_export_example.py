import json

import export
import keras
import pytest
from contracts import random_images
from models.test_vit import TINY

from keras_recon.models import RestorationUNet, ViTReconstructor

pytest.importorskip("tensorflow", reason="the crops come with the data pipeline")


def test_a_saved_model_is_exported_beside_itself(tmp_path, capsys):
    model = ViTReconstructor(**TINY)
    model.adapt(random_images(20, 16, 16, 3))
    model.save(tmp_path / "model.keras")
    format = "keras" if keras.backend.backend() == "torch" else "savedmodel"
    export.main([str(tmp_path), "--format", format])
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "export"}
    certificate = json.loads((tmp_path / "export" / "parity.json").read_text())
    assert certificate["files"].keys() == {"live", format}
    assert certificate["files"]["live"]["psnr"] > 20
    printed = capsys.readouterr().out
    assert "absolute" in printed and str(tmp_path / "export" / "parity.json") in printed


def test_mistakes_are_named(tmp_path, capsys):
    damaged = tmp_path / "model.keras"
    damaged.write_text("nothing")
    for model, message in ((tmp_path / ("n" * 300), "MODEL must be"), (damaged, "Cannot load the model")):
        with pytest.raises(SystemExit) as exit_:
            export.main([str(model)])
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {message}") and str(model) in line
    RestorationUNet((None, None, 3), filters=(4, 8)).save(damaged)
    with pytest.raises(SystemExit) as exit_:
        export.main([str(damaged), "--format", "keras"])
    assert exit_.value.code == 2 and "must have a height and a width" in capsys.readouterr().err.splitlines()[-1]
