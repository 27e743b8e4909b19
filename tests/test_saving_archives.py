"""Archives that are damaged or meant to harm: each is refused in one sentence, before it is unpacked."""

import pickle
import stat
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from contracts import outputs_of
from model_files import WEIGHTS, refuse, write

import keras_recon


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
