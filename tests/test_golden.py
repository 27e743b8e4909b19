"""Models that earlier versions saved, on each backend, load on every backend and give the outputs that they gave."""

from pathlib import Path

import numpy as np
import pytest
from contracts import outputs_of

import keras_recon

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/*/*.keras"))


def test_each_version_and_backend_is_there():
    assert {path.parent.name for path in GOLDEN} == {"tensorflow", "jax", "torch"}
    assert keras_recon.__version__ in {path.parent.parent.name for path in GOLDEN}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: "-".join(path.parts[-3:]))
def test_an_older_file_gives_what_it_gave(path):
    saved = np.load(path.parent / "images.npz")
    outputs = outputs_of(keras_recon.load_model(path), saved["images"])
    np.testing.assert_allclose(outputs, saved[path.stem], atol=1e-5)
