import json

import pytest

from keras_recon.files import replacing, write_json


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".txt" and not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError), replacing(path) as temporary:
        temporary.mkdir()
        raise OSError
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "new"]


def test_json(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"psnr": 30.0})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"psnr": 30.0}
