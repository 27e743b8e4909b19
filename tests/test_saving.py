"""Model files that are damaged or meant to harm: each is refused in one sentence, and runs no code."""

import io
import json
import pickle
import random
import shutil
import stat
import struct
import tracemalloc
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from contracts import outputs_of
from models.test_vit import TINY

import keras_recon
from keras_recon import models

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    models.ViTReconstructor(**{**TINY, "num_layers": 1, "decoder_num_layers": 1}).save(path)
    return path


@pytest.fixture
def members(saved):
    with zipfile.ZipFile(saved) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


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


def with_config(members, change):
    config = json.loads(members["config.json"])
    change(config)
    return {**members, "config.json": json.dumps(config)}


def with_weights(members, change):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(weights, names)
    return {**members, WEIGHTS: file.getvalue()}


def test_a_file_that_is_fine_is_loaded_and_so_is_a_runs_folder(tmp_path, saved):
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    expected = outputs_of(keras.saving.load_model(saved), images)
    (tmp_path / "run").mkdir()
    shutil.copy(saved, tmp_path / "run" / "model.keras")
    for path in (saved, tmp_path / "run"):
        np.testing.assert_array_equal(outputs_of(keras_recon.load_model(path), images), expected)


def test_a_deflated_file_is_loaded(tmp_path, saved, members):
    path, images = write(tmp_path / "model.keras", members, zipfile.ZIP_DEFLATED), np.full((1, 16, 16, 3), 0.3)
    assert path.stat().st_size < saved.stat().st_size
    np.testing.assert_array_equal(*(outputs_of(keras_recon.load_model(file), images) for file in (path, saved)))


def with_a_sound_checksum(path, size):
    """A deflated archive whose weights tell the size and the checksum of their first bytes alone."""
    with zipfile.ZipFile(path) as archive:
        whole = archive.getinfo(WEIGHTS)
        first = archive.open(WEIGHTS).read(size)
    data = path.read_bytes().replace(struct.pack("<I", whole.file_size), struct.pack("<I", size))
    path.write_bytes(data.replace(struct.pack("<I", whole.CRC), struct.pack("<I", zlib.crc32(first))))


def test_what_a_file_unpacks_to_beyond_its_size_does_not_reach_keras(tmp_path, members):
    size = len(members[WEIGHTS])
    bomb = {**members, WEIGHTS: members[WEIGHTS] + bytes(10**8)}
    path = write(tmp_path / "model.keras", bomb, zipfile.ZIP_DEFLATED)
    with_a_sound_checksum(path, size)
    tracemalloc.start()
    try:
        keras_recon.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "assets/x", "a\\..\\b"])
def test_an_archive_with_other_files_is_refused(tmp_path, members, name):
    refuse(write(tmp_path / "model.keras", {**members, name: b"x"}), "only the files .*, each once")
    assert not (tmp_path.parent / "evil.txt").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_doubled_or_links_are_refused(tmp_path, members):
    path = tmp_path / "model.keras"
    write(path, members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    refuse(path, "each once")
    link = zipfile.ZipInfo("config.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        for name in ("metadata.json", WEIGHTS):
            archive.writestr(name, members[name])
    refuse(path, "only the files .*, each once")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("told", [10**8, 10**5, 1000])
def test_a_bomb_is_refused_before_it_is_unpacked_whatever_size_it_tells(tmp_path, members, compression, told):
    path = write(tmp_path / "model.keras", {**members, WEIGHTS: bytes(10**8)}, compression)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 10**8), struct.pack("<I", told)))
    tells = told == 10**8 or compression != zipfile.ZIP_DEFLATED
    tracemalloc.start()
    try:
        refuse(path, "stored, or deflated to no less than an eighth of their bytes" if tells else "or damaged")
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}


@pytest.mark.parametrize(
    "evil",
    [
        LAMBDA,
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": LAMBDA}, "registered_name": None},
        {"module": "os", "class_name": "system", "config": "touch canary", "registered_name": "system"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "canary"]}},
        {"module": "builtins", "class_name": "exec", "config": "open('canary', 'w')", "registered_name": "exec"},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "."}, "registered_name": None},
    ],
)
@pytest.mark.parametrize("place", ["model", "argument", "dtype", "deep"])
def test_foreign_classes_are_refused_and_run_nothing(tmp_path, members, monkeypatch, evil, place):
    monkeypatch.chdir(tmp_path)

    def change(config):
        if place == "model":
            config.clear()
            config.update({"build_config": {}, **evil})
        elif place == "deep":
            config["config"]["name"] = [{"a": [evil]}]
        else:
            config["config"]["dtype" if place == "dtype" else "num_layers"] = evil

    refuse(write(tmp_path / "model.keras", with_config(members, change)), "foreign class|no model of keras_recon|Error")
    assert not (tmp_path / "canary").exists()


def test_a_model_that_is_not_ours_is_named(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    refuse(tmp_path / "model.keras", "is no model of keras_recon")


def test_another_version_is_named(tmp_path, members):
    path = tmp_path / "model.keras"
    newer = with_config(members, lambda c: (c["build_config"].update(keras_recon="99.1"), c["config"].update(fold=2)))
    refuse(write(path, newer), r"saved by keras_recon 99.1, this is \d.*fold")
    metadata = {**json.loads(members["metadata.json"]), "keras_version": "98.0"}
    broken = {**newer, "metadata.json": json.dumps(metadata)}
    refuse(write(path, broken), r"saved by Keras 98.0, this is \d")
    refuse(write(path, with_config(members, lambda c: c["config"].update(hidden_dim=10**9))), "hidden_dim")


def remove(weights, names):
    del weights[names[len(names) // 2]]


def reshape(weights, names):
    value = weights[names[0]][()]
    del weights[names[0]]
    weights[names[0]] = np.zeros((*value.shape, 2), value.dtype)


def link(weights, names):
    del weights[names[0]]
    weights[names[0]] = h5py.ExternalLink("/etc/passwd", "/x")


def stored_elsewhere(weights, names):
    shape = weights[names[0]].shape
    del weights[names[0]]
    size = int(np.prod(shape)) * 4
    weights.create_dataset(names[0], shape, "float32", external=[("/etc/passwd", 0, size)])


def promise(weights, names):
    del weights[names[0]]
    weights.create_dataset(names[0], (10**6, 10**6), "float32", chunks=(1000, 1000))


@pytest.mark.parametrize(
    "change, message",
    [
        (remove, "its weight .* is missing"),
        (reshape, "has the shape .*, and the model takes"),
        (link, "link to elsewhere"),
        (stored_elsewhere, "in another file"),
        (promise, "is not stored as plain numbers"),
    ],
)
def test_weights_that_are_not_the_models_own_are_refused(tmp_path, members, change, message):
    refuse(write(tmp_path / "model.keras", with_weights(members, change)), message)


def test_what_is_no_archive_is_refused(tmp_path, saved):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = tmp_path / "model.keras"
    data = saved.read_bytes()
    for content in (b"", data[:1000], data[: len(data) // 2], data[:-1], pickle.dumps(Evil()), b"PK\x03\x04 no zip"):
        path.write_bytes(content)
        refuse(path, "it is no archive, or damaged")
    assert not (tmp_path / "canary").exists()
    (tmp_path / "empty").mkdir()
    for other in (tmp_path / "empty", tmp_path / "missing.keras", tmp_path / "canary.h5"):
        with pytest.raises(ValueError, match=r"or one of .*'denoise'.*\. Received: path="):
            keras_recon.load_model(other)


def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path, saved):
    data, path = saved.read_bytes(), tmp_path / "model.keras"
    expected = keras_recon.load_model(saved).get_weights()
    rng = random.Random(0)
    # Half of them where the archive's own tables stand, at the end.
    places = [rng.randrange(start, len(data)) for start in (0, len(data) - 300) for _ in range(150)]
    counts = {"refused": 0, "equal": 0}
    for place in places:
        changed = bytearray(data)
        changed[place] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        try:
            weights = keras_recon.load_model(path).get_weights()
        except ValueError as error:
            assert "\n" not in str(error)
            counts["refused"] += 1
        else:
            for a, b in zip(weights, expected, strict=True):
                np.testing.assert_array_equal(a, b)
            counts["equal"] += 1
    assert counts["refused"] > 150
