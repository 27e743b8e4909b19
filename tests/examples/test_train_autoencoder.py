import json

import keras
import pytest
import train_autoencoder
from examples.tiny_runs import tiny

from keras_recon.models import ConvAutoencoder

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


@pytest.mark.slow
def test_a_smoke_run(tmp_path):
    train_autoencoder.main(tiny("autoencoder", tmp_path, "smoke"))
    run = tmp_path / "models" / "smoke"
    results = json.loads((run / "metrics.json").read_text())["results"]
    # Six steps are no training, but must not throw PCA's start away.
    assert results["model"]["psnr"] > results["pca"]["psnr"] - 0.05 > results["mean"]["psnr"]
    assert results["model"]["latent values"] == results["pca"]["latent values"] == 4 * 4 * 12
    assert keras.saving.load_model(run / "model.keras").filters == (8, 8)


def test_a_degradation_that_is_none_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        train_autoencoder.main(tiny("autoencoder", tmp_path, "wrong", "--degradation", "nois:25"))
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith("joined by '+'. Received: degradation='nois:25'\n")


def test_filters_that_are_no_numbers_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_autoencoder.main(tiny("autoencoder", tmp_path, "wrong", "--filters", "8;8"))
    assert "filters='8;8'" in capsys.readouterr().err


def test_help_names_the_default_variants_sizes(capsys):
    with pytest.raises(SystemExit):
        train_autoencoder.main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert ConvAutoencoder.variants["micro"] == {"filters": (16, 64, 160), "num_blocks": 1}
    assert "(16,64,160)" in words and "(micro: 1)" in words
