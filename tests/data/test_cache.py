"""Photos are decoded once, whatever happens while they are, and again when a file changes."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_recon.data import Photos, RandomPairs, cache, load_photos, loading, pairs
from keras_recon.images.decoding import BadImage

SHAPE = (16, 16, 3)


def save(path, seed, size=(40, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")).save(path)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        save(tmp_path / "photos" / f"{i}.png", i, (40 + i, 48))
    return tmp_path / "photos"


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are decoded."""
    names, read = [], loading.read_photo
    for module in (loading, pairs):
        monkeypatch.setattr(
            module, "read_photo", lambda path, channels: names.append(path.name) or read(path, channels)
        )
    return names


def equal(first, second, shape=SHAPE):
    """Whether they give the same crops."""
    crops = [RandomPairs(photos, shape, seed=0).batch(0, 0, 30) for photos in (first, second)]
    return all(np.array_equal(a, b) for a, b in zip(*crops, strict=True))


def cached(folder, **options):
    return load_photos(folder, cache=folder.parent / "cache", **options)


def test_later_calls_decode_nothing_and_give_the_same(folder, reads):
    plain = load_photos(folder)[0]
    load_photos(folder, thumbnails=folder.parent / "cache")
    reads.clear()
    first = cached(folder)[0]
    assert sorted(reads) == sorted(os.listdir(folder))
    reads.clear()
    second = cached(folder)[0]
    assert not reads
    assert equal(first, plain) and equal(second, plain)
    assert [np.array_equal(a, b) for a, b in zip(plain, second)] == [True] * len(plain)
    assert second.fingerprint == plain.fingerprint


@pytest.mark.parametrize("change", ["size", "time", "list", "channels", "resize"])
def test_what_changed_is_decoded_again(folder, reads, change):
    cached(folder)
    reads.clear()
    options = {}
    shape = {"channels": (16, 16, 1)}.get(change, SHAPE)
    name = load_photos(folder)[0].keys[0]
    if change == "size":
        save(folder / name, 99, (30, 30))
    elif change == "time":
        os.utime(folder / name, ns=(1, 1))
    elif change == "list":
        save(folder / "new.png", 77)
    else:
        options = {change: 1 if change == "channels" else 20}
    photos = cached(folder, **options)[0]
    assert name in reads
    assert equal(photos, load_photos(folder, **options)[0], shape)
    reads.clear()
    cached(folder, **options)
    assert not reads


def test_resized_photos_are_kept_small(folder):
    photos = cached(folder, resize=20)[0]
    assert all(min(photo.shape[:2]) == 20 for photo in photos)
    plain = load_photos(folder, resize=20)[0]
    assert all(np.array_equal(a, b) for a, b in zip(photos, plain)) and equal(photos, plain)


@pytest.mark.parametrize("factor", [1, 2])
def test_pairs(folder, reads, factor):
    for i in range(12):
        save(folder.parent / "clean" / f"{i}.png", 50 + i, (factor * (40 + i), factor * 48))
    options = {"target": folder.parent / "clean"}
    plain = load_photos(folder, **options)[0]
    enlarged = plain.for_upscale(1)
    equal(plain, enlarged)  # both are in memory
    cached(folder, **options)
    photos = cached(folder, **options)[0]
    reads.clear()
    assert photos.scales == (1, factor) and equal(photos, plain)
    assert equal(photos.for_upscale(1), enlarged) and not reads


def test_bad_photos_are_remembered(folder, reads, caplog):
    name = load_photos(folder)[0].keys[3]
    (folder / name).write_bytes(b"no image")
    plain = load_photos(folder, on_bad="skip")[0]
    for _ in range(2):
        photos = cached(folder, on_bad="skip")[0]
        reads.clear()
        assert photos.bad.keys() == {name} and equal(photos, plain) and name not in reads[-1:]
    assert f"{name} is left out: " in caplog.text
    with pytest.raises(ValueError, match=f"Cannot read the image {name}"):
        cached(folder, on_bad="error")


def test_a_full_disk_leaves_nothing(folder, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    load_photos(folder, thumbnails=folder.parent / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fsync", full)
        with pytest.raises(OSError, match=r"Cannot write .*photos-\w+: No space left"):
            cached(folder)
    assert not [path for path in (folder.parent / "cache").iterdir() if "photos-" in path.name]
    assert equal(cached(folder)[0], load_photos(folder)[0])


KILLED = """
import os, signal, sys
from keras_recon.data import load_photos, loading
read, count = loading.read_photo, []
def read_some(path, channels):
    count.append(path)
    if len(count) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, channels)
loading.read_photo = read_some
load_photos(sys.argv[1], cache=sys.argv[2])
"""


def test_a_kill_leaves_nothing_that_is_taken_for_whole(folder):
    kept = folder.parent / "cache"
    done = subprocess.run([sys.executable, "-c", KILLED, folder, kept], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not list(kept.glob("photos-*")) and list(kept.glob(".*.photos-*"))
    assert equal(cached(folder)[0], load_photos(folder)[0])
    assert not list(kept.glob(".*.photos-*"))  # what it left is gone


def test_arrays_stay_where_they_are(tmp_path):
    images = np.zeros((4, 20, 20, 3), "uint8")
    training, _ = load_photos((images[:3], images[3:]), cache=tmp_path / "cache")
    assert len(training) == 3 and not (tmp_path / "cache").exists()


def test_the_files_are_asked_for_their_stamp_once(tmp_path, monkeypatch):
    """Records of a data set hold all of its photos."""
    (tmp_path / "records").write_bytes(b"1")
    asked, images = [], np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), "uint8")
    stamp = cache.stamp
    monkeypatch.setattr(cache, "stamp", lambda path: asked.append(path) or stamp(path))

    def read(i):
        if not asked:
            raise BadImage("never")
        return images[i]

    photos = Photos(range(6), read, shared_files=[tmp_path / "records"])
    kept = cache.kept_on_disk(photos, tmp_path / "cache", "3 channels")
    assert len(asked) == 1 and all(np.array_equal(a, b) for a, b in zip(kept, images))
