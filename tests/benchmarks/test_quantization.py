import json

import keras
import pytest
import quantization
from skimage import data

from keras_recon.export import FORMATS
from keras_recon.images import ImageFile, write_image

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports all formats")


@pytest.mark.slow
def test_formats_are_measured_and_those_that_cannot_be_are_named(tmp_path, capsys):
    write_image(tmp_path / "photos" / "cat.png", ImageFile(data.cat()[:128, :128]))
    output = tmp_path / "quantization.json"
    options = ["--data", str(tmp_path / "photos"), "--crops", "4", "--batches", "2", "--rounds", "1"]
    formats = ["keras", "keras int8", "savedmodel"]
    quantization.main([*options, "--presets", "autoencoder", "denoise", "--formats", *formats, "--output", str(output)])
    written = json.loads(output.read_text())
    rows = written["results"]["autoencoder"]
    assert list(rows) == formats
    for name, row in rows.items():
        assert row["bytes"] > 1e6 and row["ms at 2"] > 0 and row["psnr"] > 25
        assert abs(row["psnr lost"]) < (0.1 if "int8" in name else 1e-4)
    assert written["failed"] == {
        "autoencoder": {},
        "denoise": {"keras int8": "Keras quantises dense layers only, and there are none"},
    }
    assert written["protocol"]["degradations"]["denoise"] == "noise:25"
    assert "there are none" in capsys.readouterr().out


def test_every_format_of_the_export_has_a_row():
    assert set(quantization.LOADERS) == {*FORMATS, "keras int8", "keras int4"}
    assert {name: FORMATS[name].packages for name in quantization.NEEDS} == quantization.NEEDS


@pytest.mark.parametrize(
    "options, message",
    [(["--data", "nowhere"], "nowhere"), (["--data", "x", "--formats", "tensorrt"], "invalid choice: 'tensorrt'")],
)
def test_what_is_unknown_is_refused(options, message, capsys):
    with pytest.raises(SystemExit) as ended:
        quantization.main(["--presets", "autoencoder", *options])
    assert ended.value.code == 2 and message in capsys.readouterr().err
