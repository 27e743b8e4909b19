import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import train_pretrained
from contracts import outputs_of, random_images, slow
from examples.tiny_runs import tiny
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return str(save_as_hugging_face(tiny_backbone(), tmp_path_factory.mktemp("preset") / "hugging_face"))


def test_a_smoke_run_resizes_a_preset_and_delivers_lora_merged(tmp_path, preset, capsys):
    more = ["--preset", preset, "--strategy", "lora:2", "--latent-dim", "5", "--feature-layers", "1,3"]
    train_pretrained.main(tiny("pretrained", tmp_path, "smoke", *more))
    assert "strategy lora:2" in capsys.readouterr().out
    run = tmp_path / "models" / "smoke"
    results = json.loads((run / "metrics.json").read_text())["results"]
    # Six steps are no training, but must not throw PCA's start away.
    assert results["model"]["psnr"] > results["pca"]["psnr"] - 0.05 > results["mean"]["psnr"]
    model = keras.saving.load_model(run / "model.keras")
    assert model.image_shape == (32, 32, 3) and model.feature_layers == (1, 3) and model.strategy == "frozen"
    if keras.backend.backend() != "torch":
        import tensorflow as tf

        images = random_images(2, 32, 32, 3)
        served = tf.saved_model.load(str(run / "savedmodel"))
        np.testing.assert_allclose(served.serve(images), outputs_of(model, images), atol=1e-5)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--strategy", "half"], "strategy='half'"),
        (["--feature-layers", "1;2"], "feature_layers='1;2'"),
        (["--preset", "not_a_preset"], "without a network, download it elsewhere"),
    ],
)
def test_mistakes_end_in_one_sentence_and_nothing_half_written(tmp_path, preset, capsys, more, message):
    with pytest.raises(SystemExit) as exit_:
        train_pretrained.main(tiny("pretrained", tmp_path, "wrong", "--preset", preset, *more))
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "models" / "wrong").exists()


@pytest.mark.parametrize("hub", ["vit_base_patch16_224_imagenet", slow("hf://google/vit-base-patch16-224")])
def test_a_hub_out_of_reach_ends_in_one_sentence(tmp_path, hub):
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1", "KERAS_HOME": str(tmp_path / "keras")}
    caches = {"HF_HOME": str(tmp_path / "hf"), "KAGGLEHUB_CACHE": str(tmp_path / "kaggle")}
    command = [sys.executable, train_pretrained.__file__, *tiny("pretrained", tmp_path, "out", "--preset", hub)]
    done = subprocess.run(command, env={**os.environ, **nowhere, **caches}, capture_output=True, text=True)
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("error: `preset` must be") and f"preset={hub!r}" in sentence
    assert not (tmp_path / "models" / "out").exists()
