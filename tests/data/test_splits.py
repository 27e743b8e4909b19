"""No photo, nor a copy of it, is for training and for validation, whatever a folder looks like."""

import logging

import numpy as np
import pytest
from PIL import Image

from keras_recon.data import load, load_photos
from keras_recon.data.folders import role
from keras_recon.data.splits import held_out


def picture(seed, size=(48, 64)):
    """A smooth picture that no other seed gives."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), "uint8")
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def save(folder, names):
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)


@pytest.mark.parametrize(
    "train, val, test",
    [
        ("train", "validation", None),
        ("Train", "VALID", None),
        ("training", "dev", "testing"),
        ("DIV2K_train_HR", "DIV2K_valid_HR", None),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_the_usual_names_are_known(tmp_path, caplog, train, val, test):
    save(tmp_path, [f"{train}/{i}.png" for i in range(5)] + [f"{val}/{i}.png" for i in "ab"])
    if test:
        save(tmp_path / test, [f"{i}.png" for i in range(20, 23)])
    training, validation = load_photos(tmp_path)
    assert training.keys == [f"{i}.png" for i in range(5)] and validation.keys == ["a.png", "b.png"]
    assert [record.getMessage() for record in caplog.records] == (
        [f"{test} are left out: {tmp_path} has the folders {train} and {val}"] if test else []
    )


def test_test_is_for_validation_where_there_is_nothing_else(tmp_path, caplog):
    save(tmp_path, ["train/a.png", "Test/b.png"])
    assert [photos.keys for photos in load_photos(tmp_path)] == [["a.png"], ["b.png"]]
    assert "no folder for validation: the photos in Test are for it" in caplog.text


def test_small_copies_of_a_data_set_are_left_out(tmp_path, caplog):
    names = [f"DIV2K_{part}_{kind}" for part in ("train", "valid") for kind in ("HR", "LR_bicubic")]
    save(tmp_path, [f"{name}/1.png" for name in names])
    assert [photos.files("1.png")[-1].parent.name for photos in load_photos(tmp_path)] == [names[0], names[2]]
    assert "DIV2K_train_LR_bicubic, DIV2K_valid_LR_bicubic are left out" in caplog.text


def test_links_to_folders_are_a_split_too(tmp_path):
    save(tmp_path, ["elsewhere/1/a.png", "elsewhere/2/b.png"])
    (tmp_path / "photos").mkdir()
    for name, number in (("train", 1), ("val", 2)):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere" / str(number))
    assert [photos.keys for photos in load_photos(tmp_path / "photos")] == [["a.png"], ["b.png"]]


def test_links_that_lead_nowhere_are_no_folders(tmp_path):
    save(tmp_path, ["train/a.png", "val/b.png"])
    (tmp_path / "train" / "circle").symlink_to("circle")
    (tmp_path / "test").symlink_to("test")
    assert [photos.keys for photos in load_photos(tmp_path)] == [["a.png"], ["b.png"]]


@pytest.mark.parametrize(
    "names",
    [
        ["train/a.png", "holdout/b.png"],
        ["train/a.png", "train_2/b.png", "val/c.png"],
        ["images/train/a.png", "images/val/b.png"],
        ["bottle/train/a.png", "bottle/test/b.png"],
        ["val/a.png", "test/b.png"],
        ["test/a.png", "b.png"],
    ],
)
def test_what_looks_like_a_split_but_cannot_be_told_is_refused(tmp_path, names):
    save(tmp_path, names)
    with pytest.raises(ValueError, match=r"look like a split.*as `val_data`"):
        load_photos(tmp_path)


def test_words_inside_of_others_say_nothing(tmp_path):
    assert [role(name) for name in ("trains", "valley", "tested", "contest", "train-val")] == [None] * 5
    save(tmp_path, [f"{folder}/{i}.png" for folder in ("trains", "valley") for i in range(3)])
    assert sum(map(len, load_photos(tmp_path))) == 6
    save(tmp_path / "one", [f"train/{i}.png" for i in range(3)])  # of trains, perhaps, but nothing is held out there
    assert sum(map(len, load_photos(tmp_path / "one"))) == 3


def test_validation_from_a_folder_of_its_own(tmp_path, caplog):
    save(tmp_path, [*(f"photos/{i}.png" for i in range(9)), "photos/mine/a.png", "photos/mine/b.png"])
    training, validation = load_photos(tmp_path / "photos", val_data=tmp_path / "photos" / "mine")
    assert training.keys == [f"{i}.png" for i in range(9)] and validation.keys == ["a.png", "b.png"]
    assert "2 of 11 photos for training are copies of photos for validation" in caplog.text
    listed = load_photos([tmp_path / "photos/0.png"], val_data=[tmp_path / "photos/1.png"])
    assert [photos.keys[0][-5:] for photos in listed] == ["0.png", "1.png"]
    training, validation = load_photos("sample", val_data=tmp_path / "photos")
    assert len(training) == 10 and len(validation) == 11


@pytest.mark.parametrize("count", range(2, 40, 3))
def test_few_photos_are_on_both_sides(tmp_path, count):
    save(tmp_path, [f"{i}.png" for i in range(count)])
    training, validation = load_photos(tmp_path)
    assert len(validation) >= 1 and len(training) >= 1 and len(training) + len(validation) == count
    assert [photos.keys for photos in load_photos(tmp_path)] == [training.keys, validation.keys]


def test_adding_a_photo_moves_one_at_most():
    moves, previous = [], set()
    for count in range(2, 200):
        names = [f"IMG_{i}.jpg" for i in range(count)]
        validation = {name for name, there in zip(names, held_out(names, range(count))) if there}
        moves.append(len((validation ^ previous) - {names[-1]}) if previous else 0)
        previous = validation
    assert max(moves) <= 1 and sum(moves) <= 5
    assert len(previous) == pytest.approx(20, abs=12)


def test_of_one_photo_each_side_has_a_half(tmp_path, caplog):
    picture(0, (40, 61)).save(tmp_path / "wide.png")
    training, validation = load_photos(tmp_path)
    assert "one photo, wide.png: half of it is for training, half for validation" in caplog.text
    whole = np.asarray(picture(0, (40, 61)))
    np.testing.assert_array_equal(np.concatenate([training[0], validation[0]], axis=1), whole)
    picture(0, (60, 40)).save(tmp_path / "wide.png")
    training, validation = load_photos(tmp_path)
    assert training[0].shape == validation[0].shape == (30, 40, 3) and training.keys != validation.keys


def test_copies_are_on_one_side(tmp_path, caplog):
    rng = np.random.default_rng(0)
    for i in range(30):
        image = picture(i, (120, 160))
        image.save(tmp_path / f"{i}.jpg", quality=95)
        for copy in range(rng.integers(3)):
            small = image.resize((160 >> copy, 120 >> copy))
            small.save(tmp_path / f"{i} ({copy}).jpg", quality=60)
    with caplog.at_level(logging.WARNING):
        parts = load_photos(tmp_path)
    pictures = [{name.split(" ")[0].removesuffix(".jpg") for name in photos.keys} for photos in parts]
    assert not pictures[0] & pictures[1] and len(pictures[0] | pictures[1]) == 30
    assert "photos look like copies, such as " in caplog.text
    alone = [name for name in parts[1].keys if " " not in name]  # copies move nothing
    for path in tmp_path.glob("* (*).jpg"):
        path.unlink()
    assert load_photos(tmp_path)[1].keys == alone


def test_a_split_that_is_given_loses_what_is_in_validation_too(tmp_path, caplog):
    save(tmp_path, [f"train/{i}.png" for i in range(8)])
    picture(3).resize((32, 24)).save(tmp_path / "again.jpg")
    (tmp_path / "val").mkdir()
    (tmp_path / "again.jpg").rename(tmp_path / "val" / "again.jpg")
    training, validation = load_photos(tmp_path)
    assert training.keys == [f"{i}.png" for i in range(8) if i != 3] and validation.keys == ["again.jpg"]
    assert "1 of 8 photos for training are copies of photos for validation, such as 3.png of again.jpg" in caplog.text
    save(tmp_path, [f"val/{i}.png" for i in range(8)])  # on purpose, to overfit
    assert len(load_photos(tmp_path)[0]) == 8
    assert "the validation will look better than it is" in caplog.text


def test_batches_of_a_split_that_is_given(tmp_path):
    pytest.importorskip("tensorflow")
    save(tmp_path, ["photos/a.png", "photos/b.png", "mine/c.png"])
    load_photos(tmp_path / "photos", val_data=tmp_path / "mine", thumbnails=tmp_path / "cache")
    _, validation = load(tmp_path / "photos", (16, 16, 3), val_data=tmp_path / "mine")
    ((_, clean), *_) = validation
    np.testing.assert_array_equal(clean[0], np.asarray(picture(2), "float32")[:16, :16] / 255)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thumbnails.npz"]
