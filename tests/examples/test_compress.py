from pathlib import Path

import compress
import numpy as np
import pytest
from PIL import ImageCms
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from keras_recon.compression import ImageCodec
from keras_recon.images import ImageFile, read_image, write_image

pytest.importorskip("constriction", reason="files of a codec need constriction")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A codec that is no more than a transform, and two photos."""
    folder = tmp_path_factory.mktemp("compress")
    codec = ImageCodec(filters=(8, 8, 8), slices=(64, 128), hyper_dim=4, hyper_filters=8, seed=0)
    codec.adapt(data.coffee()[None, :256, :256] / np.float32(255))
    codec.save(folder / "codec.keras")
    write_image(folder / "photos" / "a.png", ImageFile(data.cat()[:96, :130]))
    write_image(folder / "photos" / "in" / "gray.jpg", ImageFile(data.camera()[:70, :64, None], format="JPEG"))
    return folder


def test_a_folder_becomes_small_files_and_photos_again(folder, tmp_path, capsys):
    model = ["--model", str(folder / "codec.keras")]
    compress.main([str(folder / "photos"), *model, "--output", str(tmp_path / "small"), "--quality", "90"])
    files = sorted((tmp_path / "small").rglob("*.krc"))
    assert [str(path.relative_to(tmp_path / "small")) for path in files] == ["a.krc", "in/gray.krc"]
    out = capsys.readouterr().out.splitlines()
    size = files[0].stat().st_size
    assert f"{size:,} bytes, {8 * size / (96 * 130):.3f} bits per pixel" in out[0]
    compress.main([str(tmp_path / "small"), *model, "--decompress", "--output", str(tmp_path / "photos")])
    for name in ("a", "in/gray"):
        (original,) = (folder / "photos").glob(f"{name}.*")
        before, after = (read_image(path).pixels for path in (original, tmp_path / "photos" / f"{name}.png"))
        assert before.shape == after.shape and peak_signal_noise_ratio(before, after) > 35


def test_a_rate_is_kept_and_nearly_used(folder, tmp_path):
    arguments = [str(folder / "photos" / "a.png"), "--model", str(folder / "codec.keras"), "--output"]
    compress.main([*arguments, str(tmp_path / "a.krc"), "--rate", "1.5"])
    assert 0.95 < 8 * (tmp_path / "a.krc").stat().st_size / (96 * 130) / 1.5 <= 1
    with pytest.raises(SystemExit):
        compress.main([*arguments, str(tmp_path / "b.krc"), "--rate", "0.001"])
    assert not (tmp_path / "b.krc").exists()


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["--quality", "101"], "--quality must be from 0 to 100"),
        (["--rate", "0"], "--rate must be above 0. Received: 0"),
        (["--rate", "nan"], "--rate must be above 0. Received: nan"),
        (["--rate", "low"], "argument --rate: invalid float value: 'low'"),
        (["--rate", "1", "--quality", "50"], "argument --quality: not allowed with argument --rate"),
        (["--decompress", "--rate", "1"], "--decompress takes neither --quality nor --rate"),
        (["--model", "denoise"], "it is of the class RestorationUNet, and ImageCodec is expected"),
        (["--decompress"], "The file must be one that keras_recon compressed"),
        (["--output", "-"], "INPUT and --output must be files or folders. Received: '-'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(folder, tmp_path, arguments, error, capsys):
    given = ["--model", str(folder / "codec.keras"), "--output", str(tmp_path / "a.out"), *arguments]
    with pytest.raises(SystemExit) as exit_:
        compress.main([str(folder / "photos" / "a.png"), *given])
    assert exit_.value.code == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "a.out").exists()


def test_hidden_photos_are_left_out_and_none_is_overwritten(folder, tmp_path, capsys):
    photo = ImageFile(data.cat()[:48, :64], icc_profile=SRGB)
    for name in ("a.png", "b.png", ".hidden/c.png"):
        write_image(tmp_path / "in" / name, photo)
    model = ["--model", str(folder / "codec.keras")]
    compress.main([str(tmp_path / "in"), *model, "--output", str(tmp_path / "in")])
    assert sorted(path.name for path in (tmp_path / "in").rglob("*.krc")) == ["a.krc", "b.krc"]
    assert capsys.readouterr().out.count(" bits per pixel, its colour profile is dropped\n") == 2
    with pytest.raises(SystemExit):
        compress.main([str(tmp_path / "in"), *model, "--decompress", "--output", str(tmp_path / "b.png")])
    assert "--output must be a folder for 2 photos" in capsys.readouterr().err
    write_image(tmp_path / "in" / "b.jpg", photo)
    compress.main([str(tmp_path / "in"), *model, "--output", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.krc", "b.jpg.krc", "b.png.krc"]


@pytest.mark.parametrize(
    "inputs, output", [("in", "in"), ("in/a.krc", "in"), ("in/a.krc", "in/a.png"), ("small", "in")]
)
def test_a_photo_that_is_there_is_not_decompressed_over(folder, tmp_path, monkeypatch, inputs, output, capsys):
    monkeypatch.chdir(tmp_path)
    write_image(Path("in/a.png"), ImageFile(data.cat()[:48, :64]))
    model, before = ["--model", str(folder / "codec.keras")], Path("in/a.png").read_bytes()
    for place in ("in", "small"):
        compress.main(["in", *model, "--output", place])
    with pytest.raises(SystemExit) as exit_:
        compress.main([inputs, *model, "--decompress", "--output", output])
    assert exit_.value.code == 2 and Path("in/a.png").read_bytes() == before
    assert "the photo in/a.png exists and may be the original" in capsys.readouterr().err
    compress.main([inputs, *model, "--decompress", "--output", "again"])
    assert [path.name for path in Path("again").iterdir()] == ["a.png"]


def test_photos_that_a_codec_cannot_keep_are_named_and_the_others_go_on(folder, tmp_path, capsys):
    alpha = np.full((48, 64, 1), 128, "uint8")
    write_image(tmp_path / "in" / "alpha.png", ImageFile(data.cat()[:48, :64], alpha=alpha))
    write_image(tmp_path / "in" / "opaque.png", ImageFile(data.cat()[:48, :64]))
    with pytest.raises(SystemExit):
        compress.main([str(tmp_path / "in"), "--model", str(folder / "codec.keras"), "--output", str(tmp_path / "out")])
    assert "alpha.png: it must have 8 bits and no alpha channel" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["opaque.krc"]
