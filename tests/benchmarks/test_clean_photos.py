"""The photos of the presets, from repositories made here in the layout of theirs."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from benchmarks import clean_photos

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def commit(folder, files):
    """A commit of photos: paths, and the seeds and the sizes (height, width) of their pixels."""
    for name, (seed, size) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")).save(path, quality=90)
    git = ["git", "-C", folder, "-c", "user.name=me", "-c", "user.email=me@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=photos"], check=True)


@pytest.fixture
def clones(tmp_path, monkeypatch):
    monkeypatch.setattr(clean_photos, "BACKGROUNDS", "lake cat")
    monkeypatch.setattr(clean_photos, "OF_EACH_CLASS", 2)
    backgrounds, clothes = tmp_path / "backgrounds", tmp_path / "clothes"
    commit(backgrounds, {"backgrounds/lake.jpg": (0, (64, 96)), "backgrounds/cat.jpg": (1, (40, 40))})
    commit(backgrounds, {"backgrounds/lake.jpg": (2, (32, 48)), "backgrounds/wave.jpg": (3, (8, 8))})
    (backgrounds / "backgrounds/cat.jpg").unlink()
    commit(backgrounds, {})
    names = [f"{part}/{of}/{i:08}-x.jpg" for part in ("train", "test") for of in ("hat", "shirt") for i in range(3)]
    commit(clothes, {name: (i, (21, 30)) for i, name in enumerate(names)})
    return backgrounds, clothes


def test_the_largest_of_the_history_and_a_draw_of_each_class_are_halved(clones, tmp_path, capsys):
    clean_photos.main([*map(str, clones), "--output", str(tmp_path / "photos")])
    photos = {path.relative_to(tmp_path / "photos").as_posix(): path for path in tmp_path.glob("photos/*/*.jpg")}
    sizes = {name: Image.open(path).size for name, path in photos.items()}
    assert sizes["backgrounds/lake.jpg"] == (48, 32) and sizes["backgrounds/cat.jpg"] == (20, 20)
    assert [name.split("_")[0] for name in sorted(sizes)[2:]] == ["clothes/hat"] * 2 + ["clothes/shirt"] * 2
    assert "2 photos" in capsys.readouterr().out
    size = sizes["clothes/hat_" + sorted(sizes)[2].split("_")[1]]
    assert size == (15, 10)


@pytest.mark.parametrize("swapped, named", [(False, "CLOTHES"), (True, "BACKGROUNDS")])
def test_another_folder_is_refused(clones, tmp_path, capsys, swapped, named):
    folders = [tmp_path, clones[1]] if swapped else [clones[0], tmp_path]
    with pytest.raises(SystemExit):
        clean_photos.main([*map(str, folders), "--output", str(tmp_path / "photos")])
    assert f"error: {named} must be a clone" in capsys.readouterr().err
