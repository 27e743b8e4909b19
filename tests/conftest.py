import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of two test processes on two cores, the threads wait for each other

import zipfile

import keras
import pytest


@pytest.fixture(autouse=True)
def _seed():
    """Every test draws the same numbers, alone or after others, and leaves the default dtype policy."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The file of a small model."""
    from models.test_vit import TINY

    from keras_recon import models

    path = tmp_path_factory.mktemp("saved") / "model.keras"
    models.ViTReconstructor(**{**TINY, "num_layers": 1, "decoder_num_layers": 1}).save(path)
    return path


@pytest.fixture
def members(saved):
    """What its archive holds."""
    with zipfile.ZipFile(saved) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
