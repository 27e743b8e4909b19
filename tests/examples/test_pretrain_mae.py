import json
import shlex

import keras
import pretrain_mae
import pytest
from app.settings import parse
from app.systems import PretrainedConfig
from examples.tiny_runs import tiny
from PIL import Image

from keras_recon.models import PretrainedViTReconstructor

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


def test_a_run_leaves_a_preset_and_the_command_that_trains_on_with_it(tmp_path, capsys):
    pretrain_mae.main(tiny("vit", tmp_path, "mae", "--linear-path"))  # six steps from the mean patch, not from noise
    run = tmp_path / "models" / "mae"
    results, protocol = (json.loads((run / "metrics.json").read_text())[key] for key in ("results", "protocol"))
    assert results.keys() == {"model", "mean"}
    # 3 of 4 patches are hidden: the error per pixel is 4/3 times as high there.
    assert abs(results["model"]["psnr"] - results["model"]["hidden psnr"] - 1.2494) < 1e-3
    assert results["model"]["hidden psnr"] > results["mean"]["hidden psnr"] - 0.5
    assert protocol["mask"].startswith("3 of 4 patches hidden")
    with Image.open(run / "reconstructions.png") as picture:
        assert picture.width > 300
    assert keras.saving.load_model(run / "model.keras").mask_ratio == 0.75
    command = capsys.readouterr().out.splitlines()[-1]
    script, *flags = shlex.split(command)[1:]
    assert script == "examples/train_pretrained.py"
    config, _ = parse(PretrainedConfig, flags, "pretrained", "")
    model = PretrainedViTReconstructor.from_preset(**config.model_options())
    assert model.image_shape == (16, 16, 3) and model.mean == (0.5,) * 3 and model.std == (0.25,) * 3


def test_another_process_than_the_first_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    pretrain_mae.main(tiny("vit", tmp_path, "mae"))
    assert not (tmp_path / "models").exists() and "backbone" not in capsys.readouterr().out


def test_a_ratio_that_hides_all_is_refused_at_once(tmp_path, capsys):
    with pytest.raises(SystemExit):
        pretrain_mae.main(tiny("vit", tmp_path, "all", "--mask-ratio", "1"))
    assert "--mask-ratio must be from 0 to below 1" in capsys.readouterr().err
