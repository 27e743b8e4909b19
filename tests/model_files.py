"""Model files that tests make, and how one is refused."""

import zipfile

import pytest

import keras_recon

WEIGHTS = "model.weights.h5"


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def refuse(path, message):
    """It is refused by one line that names the file."""
    with pytest.raises(ValueError, match=message) as error:
        keras_recon.load_model(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 700
    return str(error.value)
