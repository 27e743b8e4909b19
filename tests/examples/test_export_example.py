import json

import export
import keras
import pytest
from contracts import random_images
from models.test_vit import TINY

from keras_recon.models import ViTReconstructor

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
    assert "max absolute difference" in printed and str(tmp_path / "export" / "parity.json") in printed


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        export.main([str(tmp_path)])
    assert f"or a .keras file. Received: {tmp_path}" in capsys.readouterr().err
    (tmp_path / "model.keras").write_text("nothing")
    with pytest.raises(SystemExit, match="error: "):
        export.main([str(tmp_path / "model.keras")])
