import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reconstruct
from contracts import random_images
from models.test_autoencoder import TINY
from models.test_vit import TINY as VIT
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from keras_recon import inference as photo_protocol
from keras_recon.images.pixels import from_float
from keras_recon.inference import reconstruct as reconstruct_photo
from keras_recon.models import ConvAutoencoder, ViTReconstructor


@pytest.fixture(scope="module")
def model():
    model = ConvAutoencoder(**TINY, linear_path=True)
    model.adapt(random_images(40, 16, 16, 3))
    return model


@pytest.fixture
def folder(tmp_path, model):
    """A saved model and a folder of three photos, of other sizes, channels and formats."""
    model.save(tmp_path / "run" / "model.keras")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, size in (("a.png", (40, 30, 3)), ("deep/b.png", (9, 21, 1)), ("deep/c.jpg", (20, 20, 3))):
        photo = from_float(random_images(1, *size)[0], "uint8")
        Image.fromarray(photo.squeeze()).save(tmp_path / "in" / name)
    return tmp_path


def run(folder, *arguments, inputs=("in",)):
    """The exit status."""
    paths = [str(folder / name) for name in inputs]
    with pytest.raises(SystemExit) as exit_:
        reconstruct.main([*paths, "--model", str(folder / "run"), "--output", str(folder / "out"), *arguments])
    return exit_.value.code


def lines(folder):
    return [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]


def test_a_folder_is_mirrored_and_measured_against_its_originals(folder, model, capsys):
    assert run(folder, "--reference", str(folder / "in"), "--error-maps") == 0
    written = sorted(p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*.*"))
    photos = ["a.png", "deep/b.png", "deep/c.jpg"]
    maps = ["a-error.png", "deep/b-error.png", "deep/c-error.png"]
    assert written == sorted([*photos, *maps, "results.jsonl", "summary.json"])
    results = lines(folder)
    assert [result["path"] for result in results] == photos
    original, output = (np.asarray(Image.open(folder / name / "a.png")) for name in ("in", "out"))
    np.testing.assert_array_equal(output, reconstruct_photo(model, original))
    assert results[0]["psnr"] == pytest.approx(peak_signal_noise_ratio(original, output), abs=1e-3)
    assert results[0]["ssim"] < 1 and "ssim" not in results[1]  # of 9 rows
    assert {"height": 9, "width": 21, "channels": 1, "bits": 8}.items() <= results[1].items()
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["results"]["psnr"] == pytest.approx(np.mean([result["psnr"] for result in results]))
    assert summary["protocol"]["reference"] == str(folder / "in") and summary["protocol"]["tile"] == [16, 16]
    printed = capsys.readouterr().out
    assert f"{summary['results']['psnr']:.4g}" in printed
    for name in ("results.jsonl", "summary.json"):
        assert str(folder / "out" / name) in printed.splitlines()


def test_files_that_fail_are_named_and_the_rest_is_done(folder, capsys):
    (folder / "in" / "broken.png").write_text("no image")
    (folder / "originals" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (folder / "originals" / name).write_bytes((folder / "in" / "a.png").read_bytes())
    assert run(folder, "--reference", str(folder / "originals")) == 1
    assert [result["path"] for result in lines(folder)] == ["a.png"]
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [error.split(": ")[1] for error in errors] == ["broken.png", "deep/b.png", "deep/c.jpg"]
    assert "Cannot read the image" in errors[0] and "shape" in errors[1] and "No such file" in errors[2]


def test_any_error_of_a_photo_leaves_the_rest_and_an_interruption_what_is_done(folder, capsys, monkeypatch):
    def fail(model, photo, *more):
        if photo.shape == failing:
            raise error(photo.shape)
        return reconstruct_photo(model, photo, *more)

    assert run(folder, "--reference", str(folder / "in")) == 0
    monkeypatch.setattr(photo_protocol, "reconstruct", fail)
    failing, error = (9, 21, 1), MemoryError
    assert run(folder) == 1
    assert [result["path"] for result in lines(folder)] == ["a.png", "deep/c.jpg"]
    assert not (folder / "out" / "summary.json").exists()  # of the run before
    assert capsys.readouterr().err.splitlines()[-1] == "error: deep/b.png: MemoryError: (9, 21, 1)"
    failing, error = (20, 20, 3), KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        reconstruct.main([str(folder / "in"), "--model", str(folder / "run"), "--output", str(folder / "out")])
    assert [result["path"] for result in lines(folder)] == ["a.png", "deep/b.png"]


def test_a_model_of_4_channels_gets_alpha_and_gives_it(folder):
    rgba = ConvAutoencoder(**{**TINY, "image_shape": (16, 16, 4)})
    rgba.adapt(random_images(40, 16, 16, 4))
    rgba.save(folder / "run" / "model.keras")
    photo = from_float(random_images(1, 30, 25, 4)[0], "uint8")
    photo[..., 3] = photo[..., 3].clip(1)  # nothing is hidden
    Image.fromarray(photo).save(folder / "in" / "a.png")
    assert run(folder, "--reference", str(folder / "in"), "--color-space", "y") == 2  # before the work
    assert run(folder, "--reference", str(folder / "in")) == 0
    np.testing.assert_array_equal(Image.open(folder / "out" / "a.png"), reconstruct_photo(rgba, photo))
    gray = np.asarray(Image.open(folder / "in" / "deep" / "b.png"))[..., None]
    expected = reconstruct_photo(rgba, np.concatenate([gray, gray, gray, np.full_like(gray, 255)], axis=2))
    np.testing.assert_array_equal(Image.open(folder / "out" / "deep" / "b.png"), expected[..., :3])  # it is opaque


def test_a_masked_model_is_refused_at_once(folder, capsys):
    ViTReconstructor(**VIT, mask_ratio=0.5).save(folder / "run" / "model.keras")
    assert run(folder) == 2
    assert "must see whole tiles" in capsys.readouterr().err.splitlines()[-1]


def test_degradation_measures_against_the_photos(folder):
    psnr, options = [], ["--seed", "7", "--no-quantize", "--color-space", "y"]
    options += ["--overlap", "4"]  # these images are of blocks of 4 pixels, which are the model's patches
    for sigma in (5, 50):
        assert run(folder, "--degradation", f"noise:{sigma}", *options) == 0
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert (summary["protocol"]["degradation"], summary["protocol"]["seed"]) == (f"noise:{sigma}", 7)
        assert "float32" in summary["protocol"]["pixels"] and summary["protocol"]["color space"].startswith("Y")
        psnr.append(summary["results"]["psnr"])
    assert psnr[0] > psnr[1] + 3


def test_larger_tiles_of_a_convolutional_model(folder, model):
    assert run(folder, "--tile-size", "40", "--overlap", "8", "--format", "png", inputs=["in/a.png"]) == 0
    original, output = (np.asarray(Image.open(folder / name / "a.png")) for name in ("in", "out"))
    expected = reconstruct_photo(model.for_image_shape((40, 40, 3)), original)  # it fits into one
    np.testing.assert_array_equal(output, expected)


def test_stdin_to_stdout(folder, model, capsysbinary, monkeypatch):
    photo = (folder / "in" / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo)))
    with pytest.raises(SystemExit) as exit_:
        reconstruct.main(["-", "--model", str(folder / "run" / "model.keras"), "--output", "-", "--format", "tiff"])
    assert exit_.value.code == 0
    with Image.open(io.BytesIO(capsysbinary.readouterr().out)) as output:
        assert output.format == "TIFF"
        expected = reconstruct_photo(model, np.asarray(Image.open(io.BytesIO(photo))))
        np.testing.assert_array_equal(np.asarray(output), expected)


def test_a_single_photo_leaves_its_file_only(folder, capsys):
    assert run(folder, "--output", str(folder / "new.webp"), inputs=["in/a.png"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["in", "new.webp", "run"]
    assert "1 photo in" in (printed := capsys.readouterr().out) and printed.endswith(f", to {folder}/new.webp\n")


def test_names_are_no_commands_for_the_terminal_and_no_name_ends_the_process(folder, capsys):
    photo = (folder / "in" / "a.png").read_bytes()
    for name in (b"M\xfcnchen.png", b"red\x1b[31m\n.png", b"x" * 247 + b".gif"):
        Path(os.fsdecode(os.fsencode(folder / "in") + b"/" + name)).write_bytes(photo)
    (folder / "in" / "broken\x1b[2J.png").write_bytes(b"no image")
    assert run(folder) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "error: broken\\x1b[2J.png: Cannot read" in err
    assert "M\\udcfcnchen.png" in out and "\\x1b[31m\\n.png" in out.replace("\n", "").replace(" ", "")
    assert os.path.isfile(os.fsencode(folder / "out") + b"/M\xfcnchen.png")
    assert (folder / "out" / ("x" * 247 + ".png")).is_file()
    assert run(folder, "--model", "\x1b[2J.keras") == 2
    assert capsys.readouterr().err.endswith("Received: \\x1b[2J.keras\n")


def test_photos_of_more_megapixels_than_are_wanted_are_refused(folder, capsys):
    Image.new("L", (2000, 1000)).save(folder / "in" / "large.png")
    assert run(folder, "--max-megapixels", "1") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: large.png: ") and "at most 1 megapixels. Received: 2000x1000 pixels" in error


# Not by `getrusage`, whose maximum a process inherits from the one that began it.
PEAK = """
import pathlib, re, sys, reconstruct
try:
    reconstruct.main(sys.argv[1:])
except SystemExit as exit:
    status = pathlib.Path("/proc/self/status").read_text()
    print(exit.code, re.search("VmHWM:[^0-9]*([0-9]+) kB", status)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells of a process's peak there")
def test_a_hundred_megapixels_take_less_than_2_gb(tmp_path):
    ConvAutoencoder.from_variant("micro").save(tmp_path / "model.keras")
    Image.linear_gradient("L").resize((12_500, 8_000)).convert("RGB").save(tmp_path / "photo.jpg")
    arguments = [tmp_path / "photo.jpg", "--model", tmp_path / "model.keras", "--output", tmp_path / "out"]
    output = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)],
        cwd=Path(reconstruct.__file__).parent,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    status, kib = map(int, output.stdout.split()[-2:])
    assert status == 0 and kib < 2 * 10**9 / 1024
    with Image.open(tmp_path / "out" / "photo.jpg") as written:
        assert written.size == (12_500, 8_000)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--overlap", "9"], "half the tile, 16x16 pixels"),
        (["--overlap", "-1"], "--overlap must be at least 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--tile-size", "18"], "image_shape=(18, 18, 3)"),
        (["--model", "nowhere.keras"], "--model must be"),
        (["--model", "denoyse"], "or one of ['denoise', "),
        (["--model", "."], "Received: path='model.keras', which does not exist"),
        (["--degradation", "nois:3"], "Received: degradation='nois:3'"),
        (["--output", __file__], "--output must be a folder, or a file of .png"),
        (["--reference", "nowhere"], "--reference must be a folder"),
        (["--reference", "n" * 300], "--reference must be a folder"),
        (["--model", "n" * 300 + ".keras"], "--model must be"),
        (["--error-maps"], "--error-maps needs --reference or --degradation"),
        (["--output", "-"], "--output must be a folder for 3 photos"),
    ],
)
def test_mistakes_end_in_one_sentence(folder, capsys, arguments, message):
    assert run(folder, *arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "out").exists()
