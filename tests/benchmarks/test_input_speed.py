import json
import os
import shutil

import input_speed
import numpy as np
import pytest
from arguments import missing
from input_loaders import LOADERS, NOISE, RECORDS, TORCH, random_crop
from PIL import Image

pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")
from keras_recon import data

SLOW = pytest.mark.slow
WORKERS = f"{TORCH}, {os.cpu_count()} workers"
TENSOR = "tensorflow.python.framework.ops.EagerTensor"
# What has to be found behind a label: the iterator's class, that of a batch.
RAN = {
    **{name: ("tensorflow.", f"({TENSOR}, {TENSOR})") for name in LOADERS if name.startswith("keras_recon")},
    f"{TORCH}, 0 workers": (
        "torch.utils.data.dataloader._SingleProcessDataLoaderIter",
        "torch.Tensor",
    ),
    WORKERS: ("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", "torch.Tensor"),
    "Grain and Pillow": ("grain.", "numpy.ndarray"),
    "tf.data, decode_and_crop_jpeg": ("tensorflow.", TENSOR),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    (folder / "jpeg").mkdir()
    input_speed.write_photos(folder / "jpeg", (100, 75), 5)
    for records in RECORDS:
        input_speed.write_records(folder / records, folder / "jpeg", records)
    return folder


@pytest.fixture
def only_source(sources, tmp_path):
    """A function of a loader: a folder with its source, and no other, in it."""

    def copy(loader):
        source = loader.records or "jpeg"
        shutil.copytree(sources / source, tmp_path / source)
        return tmp_path / source

    return copy


@pytest.mark.parametrize("label", [pytest.param(name, marks=SLOW) if name == WORKERS else name for name in RAN])
def test_a_label_runs_what_it_names(label, only_source):
    assert RAN.keys() == LOADERS.keys()
    loader = LOADERS[label]
    if why := missing(loader.needs):
        pytest.skip(why)
    folder = only_source(loader)
    _, ran = input_speed.rates([label], folder.parent, folder.name, 0.01, 1)
    iterator, batch = RAN[label]
    assert ran[label]["iterator"].startswith(iterator) and ran[label]["batch"] == batch
    made = next(loader.begin(folder, 64))
    degraded, images = map(np.asarray, made if batch[0] == "(" else (made, made))
    assert round(255 * float((degraded - images).std())) == (25 if NOISE in label else 0)
    assert images.shape == (32, 64, 64, 3) and 0 <= images.min() < images.max() <= 1
    assert len(np.unique(images[:, 0, 0], axis=0)) > 16  # crops at random


@pytest.mark.parametrize("label", [name for name in LOADERS if name.startswith("keras_recon")])
def test_the_own_rows_are_the_batches_of_a_training(label, only_source):
    loader = LOADERS[label]
    folder = only_source(loader)
    source = ("tfds:photos", 3, str(folder)) if loader.records else (str(folder),)
    batches = data.training_batches(data.load_photos(*source)[0], (64, 64, 3), 32, 10**5, 1, seed=0)
    np.testing.assert_array_equal(next(loader.begin(folder, 64))[1], next(iter(batches))[1])


def test_photos_decoded_before_are_not_read_again(only_source):
    import tensorflow as tf

    names = ("keras_recon, decoded before", "keras_recon, --cache", "keras_recon")
    loaders = [LOADERS[name] for name in names]
    folder = only_source(loaders[0])
    *kept, read = (loader.begin(folder, 64) for loader in loaders)
    shutil.rmtree(folder)
    assert all(next(loader)[0].shape == (32, 64, 64, 3) for _ in range(20) for loader in kept)
    with pytest.raises(tf.errors.OpError):
        for _ in range(20):
            next(read)


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(input_speed, "SIZES", {"500x375": ((100, 75), 9)})
    output, table = tmp_path / "speed.json", "500x375, crops of 64x64"
    input_speed.main(["--crops", "64", "--seconds", "0.1", "--rounds", "1", "--files", "20", "--output", str(output)])
    results = json.loads(output.read_text())["results"]
    assert {"keras_recon", "keras_recon, tfrecord", "tf.data, decode_and_crop_jpeg"} <= results[table].keys()
    assert results[table].keys() == results["ran"][table].keys()
    assert all(row["images per second"] > 0 for row in results[table].values())
    assert results["memory"]["20 files"]["seconds to the first batch"] > 0
    assert "keras_recon, tfrecord" in capsys.readouterr().out


def test_what_other_loaders_give_is_a_crop_in_0_to_1(tmp_path):
    Image.fromarray(np.full((80, 90, 3), 255, "uint8")).save(tmp_path / "white.jpg")
    crop = random_crop(tmp_path / "white.jpg", 64)
    assert crop.shape == (64, 64, 3) and crop.dtype == "float32" and crop.min() > 0.99
