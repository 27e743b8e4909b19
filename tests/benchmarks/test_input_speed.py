import json

import input_speed
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(input_speed, "SIZES", {"500x375": ((100, 75), 9)})
    output = tmp_path / "speed.json"
    input_speed.main(["--seconds", "0.1", "--rounds", "1", "--files", "20", "--output", str(output)])
    results = json.loads(output.read_text())["results"]
    assert {"keras_recon", "keras_recon, tfrecord", "tf.data, decode_and_crop_jpeg"} <= results["500x375"].keys()
    assert all(row["images per second"] > 0 for row in results["500x375"].values())
    assert results["memory"]["20 files"]["seconds to the first batch"] > 0
    assert "per core" in capsys.readouterr().out


def test_what_other_loaders_give_is_a_crop_in_0_to_1(tmp_path):
    Image.fromarray(np.full((80, 90, 3), 255, "uint8")).save(tmp_path / "white.jpg")
    crop = input_speed.random_crop(tmp_path / "white.jpg")
    assert crop.shape == (64, 64, 3) and crop.dtype == "float32" and crop.min() > 0.99
