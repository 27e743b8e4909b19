import json
import os

import pytest

from keras_recon.utils.files import remove_temporaries, replacing, to_json, write_json


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


def test_an_error_names_the_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Cannot write .*/file/below: "), replacing(tmp_path / "file" / "below"):
        pass


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    for name in (".12.a.json", "deep/.3.savedmodel/variables/index", ".hidden", "deep/.4.b.old", "12.a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {".hidden", "12.a.json"}


def test_of_a_folder_with_files_of_others_only_the_own_temporaries_go(tmp_path):
    for name in (".12.own.png", ".12.other.png", ".1.png"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, of={tmp_path / "own.png"})
    assert {path.name for path in tmp_path.iterdir()} == {".12.other.png", ".1.png"}


def test_json(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"psnr": 30.0})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"psnr": 30.0}


def test_json_has_no_numbers_that_are_not_finite():
    text = to_json({"nan": float("nan"), "rows": [1.5, (float("inf"), -float("inf"))], "text": "NaN"})
    assert json.loads(text, parse_constant=pytest.fail) == {"nan": None, "rows": [1.5, [None, None]], "text": "NaN"}


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "ä" * 125 + ".png", "x." + "y" * 253])
def test_names_as_long_as_the_file_system_takes(tmp_path, name):
    path = tmp_path / name
    with replacing(path) as temporary:
        temporary.touch()
    assert path.is_file() and len(os.fsencode(f"{temporary.name}.keras.old")) <= 255
    temporary.touch()  # of a process that was killed
    remove_temporaries(tmp_path, of={path})
    assert [*tmp_path.iterdir()] == [path]
