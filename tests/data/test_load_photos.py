import numpy as np
import pytest
from PIL import Image

from keras_recon.data import folder_photos, load_photos


def save_photos(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (i, i, i)).save(path)


def test_sample_has_photos_in_one_part_only():
    training, validation = load_photos("sample")
    assert len(training) == 10 and len(validation) == 3
    assert not set(training.keys) & set(validation.keys)
    for photo in [*training, *validation]:
        assert photo.dtype == np.uint8 and photo.shape[2] == 3 and min(photo.shape[:2]) >= 300
    assert load_photos("sample", channels=1)[1][0].shape == (512, 512, 1)


def test_folder_with_train_and_val(tmp_path):
    save_photos(tmp_path, ["train/a.png", "train/deep/b.PNG", "val/c.jpg", "other/d.png"])
    (tmp_path / "train" / "notes.txt").touch()
    training, validation = load_photos(str(tmp_path))
    assert training.keys == ["a.png", "deep/b.PNG"] and validation.keys == ["c.jpg"]
    assert training[1].shape == (16, 16, 3)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    folder = tmp_path / ".photos"  # hidden itself, but asked for
    save_photos(folder, ["a.png", ".b.png", ".thumbs/a.png", "deep/.thumbs/deep/a.png", "deep/.c.png"])
    assert folder_photos(folder).keys == folder_photos(str(folder)).keys == ["a.png"]
    assert folder_photos(str(folder))[0].ndim == 3


def test_larger_photos_are_made_smaller(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(80, 176, (20, 30, 3), "uint8")  # no overshoot that is clipped
    sizes = {"a.png": (300, 200), "b.png": (30, 20), "c.png": (90, 180)}
    for name, size in sizes.items():
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(tmp_path / name)
    (tmp_path / "torn.png").write_bytes(b"no image")
    parts = load_photos(tmp_path, resize=60, on_bad="skip")
    photos = {key: part[i] for part in parts for i, key in enumerate(part.keys) if key != "torn.png"}
    assert [photos[key].shape[:2] for key in sorted(photos)] == [(60, 90), (20, 30), (120, 60)]
    with Image.open(tmp_path / "a.png") as image:
        by_pillow = np.asarray(image.resize((90, 60), Image.Resampling.BICUBIC), int)
    assert photos["a.png"].dtype == "uint8" and np.abs(photos["a.png"] - by_pillow).max() <= 1
    assert load_photos("sample", resize=100)[1][0].shape == (100, 100, 3)
    with pytest.raises(ValueError, match="`resize` must be at least 1"):
        load_photos("sample", resize=0)


def test_adding_a_file_moves_no_other(tmp_path):
    save_photos(tmp_path, [f"{i}.png" for i in range(100)])
    training, validation = load_photos(tmp_path)
    assert 4 <= len(validation) <= 17 and len(training) + len(validation) == 100
    save_photos(tmp_path, [f"new/{i}.png" for i in range(50)])
    more_training, more_validation = load_photos(tmp_path)
    assert set(training.keys) < set(more_training.keys) and set(validation.keys) < set(more_validation.keys)


def test_arrays():
    arrays = np.zeros((3, 8, 8, 1), "uint8"), [np.ones((9, 8, 1)), np.ones((8, 9, 1))]
    training, validation = load_photos(arrays, channels=1)
    assert len(training) == 3 and validation[1].shape == (8, 9, 1)


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8), "uint8"), np.zeros((8, 8, 3), "uint8"), np.zeros((8, 8, 1), int), np.full((8, 8, 1), 2.0)],
)
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ValueError, match="Received: an image of"):
        load_photos(([array], [array]), channels=1)


def test_what_is_no_source_is_named(tmp_path):
    with pytest.raises(ValueError, match="Received: data='nowhere'"):
        load_photos("nowhere")
    with pytest.raises(ValueError, match="Found no image in"):
        load_photos(tmp_path)
    save_photos(tmp_path, ["train/a.png"])
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match=r"no image in .*val"):
        load_photos(tmp_path)
