"""A folder that nobody has cleaned: what is an image is used, the rest is named, nothing crashes."""

import io
import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import train_vit
from PIL import Image

from keras_recon.data import folder_photos, grid_crops, photo_grids, read_photo

pytest.importorskip("tensorflow", reason="the training needs TensorFlow")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 48, 3), dtype="uint8")
DEEP = "/".join(["d" * 180] * 11)  # 2,000 characters


def encoded(format, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def blank(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb():
    """A PNG whose header promises 60000x60000 pixels."""
    header = bytearray(encoded("PNG"))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    return bytes(header)


def deep_tiff():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RNG.random((40, 48), "float32"))
    return buffer.getvalue()


GOOD = {
    "cmyk.jpg": encoded("JPEG", "CMYK"),
    "palette.png": encoded("PNG", "P"),
    "one bit.png": encoded("PNG", "1"),
    "rgba.png": encoded("PNG", "RGBA"),
    "deep.png": cv2.imencode(".png", PIXELS.astype("uint16") * 257)[1].tobytes(),
    "float.tiff": deep_tiff(),
    "animated.gif": encoded("GIF", save_all=True, append_images=[Image.new("RGB", (48, 40))]),
    "really a png.jpg": encoded("PNG"),
    "line\nbreak.png": encoded("PNG"),
    "名前 ä.webp": encoded("WEBP"),
    os.fsdecode(b"no text \xff.png"): encoded("PNG"),
    f"{DEEP}/deep.bmp": encoded("BMP"),
    "long.png": blank(10_000, 20),
}
GOOD |= {f"{i}.jpg": encoded("JPEG") for i in range(6)}  # or most would be bad
BAD = {
    "empty.jpg": b"",
    "text.png": b"no image",
    "torn.jpg": encoded("JPEG")[:400],
    "torn.png": encoded("PNG")[:400],
    "torn.webp": encoded("WEBP")[:200],
    "torn.tiff": encoded("TIFF")[:100],
    "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "bomb.png": bomb(),
    "dot.png": blank(1, 1),
    "line.png": blank(10_000, 1),
}


@pytest.fixture
def dirty(tmp_path):
    """The folder `photos` with train/ and val/, of which train/ is dirty."""
    folder = tmp_path / "photos"
    for name, data in (GOOD | BAD).items():
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "train" / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "train" / "itself.png").symlink_to("itself.png")
    (folder / "train" / "loop").symlink_to(folder / "train")
    os.mkfifo(folder / "train" / "pipe.png")
    (folder / "val").mkdir()
    for i in range(3):
        (folder / "val" / f"{i}.png").write_bytes(encoded("PNG"))
    return folder


LINKS = {"nowhere.png", "itself.png", "pipe.png"}


def test_each_file_is_read_or_named(dirty):
    photos = folder_photos(dirty / "train", on_bad="skip")
    crops = list(photo_grids(photos, (16, 16), 10_000))
    assert set(photos.bad) == {*BAD, *LINKS} and len(crops) == len(GOOD)
    assert all("\n" not in reason for reason in photos.bad.values())


@pytest.mark.slow
def test_a_training_goes_on_without_the_bad_ones_and_lists_them(dirty, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_vit.main(["--smoke", "--data", str(dirty), "--steps-per-epoch", "9", "--run-name", "dirty"])
    listed = json.loads(Path("saved_models/dirty/bad_images.json").read_text())
    assert {entry["path"] for entry in listed["training"]} == {*BAD, *LINKS} and listed["validation"] == []
    assert f"warning: {listed['count']} of" in capsys.readouterr().err
    protocol = json.loads(Path("saved_models/dirty/metrics.json").read_text())["protocol"]
    assert protocol["bad images"].startswith(f"{len(BAD) + len(LINKS)} of")


def test_a_photo_that_vanishes_or_changes_while_training(dirty):
    photos = folder_photos(dirty / "val", on_bad="skip")
    (dirty / "val" / "0.png").unlink()
    (dirty / "val" / "1.png").write_bytes(encoded("JPEG", "L"))
    assert len(grid_crops(photos, (16, 16), 10_000)) == 2
    assert list(photos.bad) == ["0.png"]


def test_what_may_not_be_read_is_named(dirty):
    barred = dirty / "val" / "barred"
    barred.mkdir()
    (dirty / "val" / "0.png").chmod(0)
    barred.chmod(0)
    for path in (dirty, *list(dirty.parents)[:4]):  # pytest's own folders
        path.chmod(0o755)
    me = os.geteuid()
    os.seteuid(65534 if me == 0 else me)  # to root nothing is barred
    try:
        photos = folder_photos(dirty / "val", on_bad="skip")
        with pytest.raises(ValueError, match=r"0\.png: .*Permission denied"):
            read_photo(dirty / "val" / "0.png", 3)
    finally:
        os.seteuid(me)
    assert photos.bad == {"barred": "Permission denied"}


MUTATE = """
import io, json, random, resource, signal, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from keras_recon.data import read_photo
from keras_recon.images import read_image
from PIL import Image
import tempfile, pathlib
seeds = [bytes.fromhex(text) for text in json.load(sys.stdin)]
first, last = map(int, sys.argv[1:])
counts = {"read": 0, "refused": 0}
path = pathlib.Path(tempfile.mkdtemp()) / "photo.png"
for number in range(first, last):
    rng = random.Random(number)
    data = bytearray(rng.choice(seeds))
    kind = rng.randrange(5)
    if kind == 0:
        del data[rng.randrange(len(data)):]
    elif kind == 1:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # headers and lengths
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(min(64, len(data)))] = rng.choice((0, 1, 127, 128, 255))
    elif kind == 3:
        other = rng.choice(seeds)
        data[rng.randrange(len(data)):] = other[rng.randrange(len(other)):]
    else:
        start = rng.randrange(len(data))
        data[start:start] = data[start:start + rng.randrange(1, 200)]
    print(number, end="\\r", file=sys.stderr, flush=True)
    signal.alarm(20)  # a hang ends the process, and the test
    path.write_bytes(data)
    for read in (lambda: read_photo(path, 3), lambda: read_image(bytes(data))):
        try:
            read()
            counts["read"] += 1
        except ValueError:
            counts["refused"] += 1
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({**counts, "peak bytes": peak}))
"""


@pytest.mark.slow
def test_ten_thousand_mutated_files_crash_hang_and_swell_nothing():
    gray = Image.fromarray(PIXELS[:12, :16, 0].astype("uint16") * 257)
    small = Image.fromarray(PIXELS[:12, :16])
    exif = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}
    modes = {
        "PNG": "RGBA P 1 L",
        "JPEG": "RGB L CMYK",
        "WEBP": "RGBA",
        "TIFF": "RGB F CMYK 1",
        "GIF": "P",
        "BMP": "RGB",
    }
    images = [("PNG", gray), *((format, small.convert(mode)) for format in modes for mode in modes[format].split())]
    seeds = [cv2.imencode(kind, PIXELS[:12, :16].astype("uint16") * 257)[1].tobytes() for kind in (".png", ".tiff")]
    for format, image in images:
        buffer = io.BytesIO()
        image.save(buffer, format, **(exif if format in ("JPEG", "WEBP") else {}))
        seeds.append(buffer.getvalue())
    random.Random(0).shuffle(seeds)
    command = [sys.executable, "-W", "ignore", "-c", MUTATE, "0", "10000"]
    text = json.dumps([data.hex() for data in seeds])
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    assert counts["read"] + counts["refused"] == 20_000
    assert counts["read"] > 2_000 and counts["refused"] > 2_000  # the mutations reach both
    assert counts["peak bytes"] < 4 * 2**30
