import json

import keras
import numpy as np
import pytest
import train_restoration
from examples.tiny_runs import tiny

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


def test_a_smoke_run(tmp_path):
    train_restoration.main(tiny("restoration", tmp_path, "smoke", "--degradation", "noise:25"))
    run = tmp_path / "models" / "smoke"
    report = json.loads((run / "metrics.json").read_text())
    results = report["results"]
    assert report["protocol"]["degradation"] == "noise:25"
    assert results["input"]["psnr"] == pytest.approx(-20 * np.log10(25 / 255), abs=0.1)
    assert results["model"]["psnr"] > results["input"]["psnr"] - 0.05  # it begins at its input, but clipped
    assert "compression ratio" not in results["model"]
    assert keras.saving.load_model(run / "model.keras").filters == (6, 8)
