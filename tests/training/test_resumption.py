import json

import numpy as np
import pytest
from models.test_vit import TINY
from models.tiny_backbones import tiny_backbone

from keras_recon import data, models
from keras_recon.models.layer_state import old_paths
from keras_recon.training.train import check_unchanged


def photos(*names):
    return data.Photos(names, lambda name: np.zeros((16, 16, 3), "uint8"))


def test_the_same_goes_on(tmp_path):
    for _ in range(2):  # the second model has other names of layers
        model = models.PretrainedViTReconstructor(tiny_backbone(), latent_dim=5, decoder="linear")
        check_unchanged(tmp_path / "began.json", model, photos("a", "b"), photos("c"))
    assert json.loads((tmp_path / "began.json").read_text())["number of training photos"] == 2


@pytest.mark.parametrize(
    "changes, training, message",
    [
        ({"num_layers": 2}, ("a", "b"), r"model.num_layers=1\. Received: 2$"),
        ({}, ("a", "b", "d"), r"number of training photos=2\. Received: 3$"),
        ({}, ("a", "d"), r"\(another version may divide photos otherwise\), hash of the training photos' names="),
    ],
)
def test_what_is_another_is_named(tmp_path, changes, training, message):
    path = tmp_path / "began.json"
    check_unchanged(path, models.ViTReconstructor(**{**TINY, "num_layers": 1}), photos("a", "b"), photos("c"))
    before = path.read_text()
    with pytest.raises(ValueError, match=message):
        model = models.ViTReconstructor(**{**TINY, "num_layers": 1, **changes})
        check_unchanged(path, model, photos(*training), photos("c"))
    assert path.read_text() == before


def test_a_run_that_drew_otherwise_does_not_go_on(tmp_path):
    path, model = tmp_path / "began.json", models.ViTReconstructor(**TINY)
    check_unchanged(path, model, photos("a"), photos("b"))
    began = json.loads(path.read_text())
    del began["version of the random draws"]  # as of 0.1.0
    path.write_text(json.dumps(began))
    message = r"^A run must go on with what it began with \(the version of keras_recon that began it can finish it\), "
    with pytest.raises(ValueError, match=message + r"version of the random draws=1\. Received: 2$"):
        check_unchanged(path, model, photos("a"), photos("b"))


def test_runs_of_0_1_0_with_frozen_layers_and_without_skips_go_on(tmp_path):
    path, model = tmp_path / "began.json", models.ConvAutoencoder((16, 16, 3), filters=(4, 6), latent_dim=5)
    model.encoder.trainable = False
    check_unchanged(path, model, photos("a"), photos("b"))
    began = json.loads(path.read_text())
    positions = [i for i, name in enumerate(old_paths(model)) if name in began["model.frozen"]]
    path.write_text(json.dumps({**began, "model.frozen": positions, "model.skips": False}))
    check_unchanged(path, model, photos("a"), photos("b"))
    path.write_text(json.dumps({**began, "model.frozen": positions[1:]}))
    with pytest.raises(ValueError, match=r"model\.frozen="):
        check_unchanged(path, model, photos("a"), photos("b"))
