import io
import os

import numpy as np
import pytest
import skimage.data
from PIL import Image

from keras_recon.data import splits as copies
from keras_recon.data.splits import group_copies

PHOTOS = ("astronaut", "cat", "chelsea", "coffee", "rocket", "camera", "coins", "grass", "gravel", "brick")


def photo(name):
    return Image.fromarray(getattr(skimage.data, name)())


def alike(tmp_path, **files):
    paths = []
    for name, image in files.items():
        paths.append(tmp_path / f"{name}.png")
        image.save(paths[-1])
    return len(np.unique(group_copies(paths))) == 1


@pytest.mark.parametrize("name", PHOTOS)
def test_other_sizes_qualities_and_levels_are_copies(tmp_path, name):
    image = photo(name)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=30)
    copies_of_it = {
        "original": image,
        "small": image.resize([side // 4 for side in image.size], Image.Resampling.LANCZOS),
        "large": image.resize([side * 2 for side in image.size], Image.Resampling.BICUBIC),
        "jpeg": Image.open(buffer),
        "gray": image.convert("L"),
        "dark": image.point(lambda value: value // 2),
    }
    assert alike(tmp_path, **copies_of_it)


def test_different_photos_are_none(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in PHOTOS]
    for path in paths:
        photo(path.stem).save(path)
    assert group_copies(paths).tolist() == [0, 1, 1, *range(2, 9)]  # `chelsea` is the cat
    assert not alike(tmp_path, original=photo("coffee"), mirrored=photo("coffee").transpose(Image.Transpose(0)))


def test_orientation_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = photo("coffee")
    image.save(tmp_path / "upright.png")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    assert group_copies([tmp_path / "upright.png", tmp_path / "turned.jpg"]).tolist() == [0, 0]


def test_plain_walls_and_bad_files_are_copies_of_nothing(tmp_path):
    for i in range(3):
        Image.new("RGB", (40, 30), (200, 200, 200 + i)).save(tmp_path / f"{i}.png")
        (tmp_path / f"bad{i}.png").write_bytes(b"no image")
    assert len(np.unique(group_copies(sorted(tmp_path.iterdir())))) == 6


def test_photos_of_one_scene_are_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    scene = np.asarray(photo("camera").resize((64, 64)), float)
    for i in range(24):
        parts = np.kron(rng.normal(0, 12, (16, 16)), np.ones((4, 4)))
        Image.fromarray((scene + parts).clip(0, 255).astype("uint8")).save(tmp_path / f"{i:02}.png")
    Image.open(tmp_path / "05.png").save(tmp_path / "05 again.jpg", quality=90)
    groups = dict(zip(sorted(path.name for path in tmp_path.iterdir()), group_copies(sorted(tmp_path.iterdir()))))
    assert len(set(groups.values())) == 24 and groups["05.png"] == groups["05 again.jpg"]


def test_chains_are_one_group(monkeypatch):
    monkeypatch.setattr(copies, "CHUNK", 2)
    angles = np.array([0.0, 2.0, 0.1, 1.0, 0.2, 2.1, 0.3])
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert copies._components(units, np.cos(0.15)).tolist() == [0, 1, 0, 2, 0, 1, 0]


def test_the_cache_knows_what_did_not_change(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(copies, "_thumbnail", lambda path: made.append(path) or np.full((32, 32), len(made), "uint8"))
    paths, cache = [tmp_path / name for name in ("a.png", "b.png")], tmp_path / "cache"
    for path in paths:
        photo("coffee").save(path)
    first = copies.thumbnails(paths, cache)
    assert len(made) == 2
    np.testing.assert_array_equal(copies.thumbnails(paths[::-1], cache), first[::-1])
    assert len(made) == 2
    os.utime(paths[0], (1, 1))
    copies.thumbnails(paths, cache)
    assert made[2:] == paths[:1]
    (cache / "thumbnails.npz").write_bytes(b"torn")
    copies.thumbnails(paths, cache)
    assert len(made) == 5


def test_too_many_are_not_compared(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(copies, "MAX_COMPARED", 2)
    assert group_copies([tmp_path / "gone.png"] * 3).tolist() == [0, 1, 2]
    assert "3 photos are not searched for copies" in caplog.text
