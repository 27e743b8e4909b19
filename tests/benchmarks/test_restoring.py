import json

import pytest
import restoration
from skimage import data

from keras_recon.images import ImageFile, write_image


@pytest.fixture
def photos(tmp_path):
    write_image(tmp_path / "photos" / "cat.png", ImageFile(data.cat()[100:149, 100:151]))
    return tmp_path / "photos"


def test_presets_are_better_than_their_inputs(photos, tmp_path):
    restoration.main(["deblock", str(photos), "--model", "deblock", "--json", str(tmp_path / "a.json")])
    row = json.loads((tmp_path / "a.json").read_text())["results"]["quality 10"]
    assert row["gray deblocked"] > row["gray JPEG"] and row["colour deblocked"] > row["colour JPEG"]
    restoration.main(["enlarge", str(photos), "--model", "upscale2", "--json", str(tmp_path / "b.json")])
    rows = json.loads((tmp_path / "b.json").read_text())["results"]
    assert rows["model"]["psnr"] > rows["bicubic"]["psnr"]


@pytest.mark.parametrize("model, message", [("upscale2", "one for the task deblock"), ("denoyse", "or one of")])
def test_another_model_is_refused(photos, model, message, capsys):
    with pytest.raises(SystemExit) as ended:
        restoration.main(["deblock", str(photos), "--model", model])
    assert ended.value.code == 2 and message in capsys.readouterr().err
