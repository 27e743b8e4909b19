"""Of what a photo carries beside its pixels, what describes it goes into the new file, and nothing spoils that."""

import io
import logging
import os
import struct

import numpy as np
import pytest
from file_kinds import chunk
from PIL import ExifTags, Image, ImageCms

from keras_recon.images import FORMATS, ImageFile, encode_image, read_image, write_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype="uint8")
BROKEN = (
    b"Exif\0\0II*\0\xff\xff\xff\xff junk",
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\3\0",
    b"Exif\0\0",
    b"no EXIF",
)


def photo(format="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format, **options)
    return buffer.getvalue()


def camera():
    """EXIF data as phones write them, with sizes and strips that are not those of the file."""
    exif = Image.Exif()
    for tag, value in {256: 4000, 257: 3000, 258: (8, 8, 8), 259: 6, 262: 6, 277: 3, 278: 3000, 273: 9, 279: 9}.items():
        exif[tag] = value
    exif[ExifTags.Base.Make] = "camera"
    exif[ExifTags.Base.Artist] = "José".encode("latin-1")
    exif[ExifTags.Base.XResolution] = 300.0
    exif[ExifTags.Base.Orientation] = 1
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.DateTimeOriginal: "2024:01:02 03:04:05", 40962: 4000})
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


@pytest.mark.parametrize("target", sorted({*FORMATS.values()}))
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_exif_of_the_old_pixels_does_not_reach_the_new_file(source, target):
    image = read_image(photo(source, exif=camera()))
    with Image.open(io.BytesIO(encode_image(image, target))) as written:
        assert written.size == (30, 20)
        if target not in ("JPEG", "WEBP"):
            np.testing.assert_array_equal(written, image.pixels)
        exif = written.getexif()
        if target == "BMP":
            return
        assert exif[ExifTags.Base.Make] == "camera" and exif[ExifTags.Base.Artist] == "José"
        assert exif[ExifTags.Base.XResolution] == 300 and ExifTags.Base.Orientation not in exif
        assert exif.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.DateTimeOriginal: "2024:01:02 03:04:05"}
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        if target != "TIFF":
            assert not {256, 257, 258, 259, 262, 273, 277, 278, 279} & {*exif}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("exif", BROKEN)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_stops_no_good_pixels_and_is_not_copied(caplog, source, exif, target):
    image = read_image(photo(source, exif=exif))
    assert image.pixels.shape == (20, 30, 3)
    with caplog.at_level(logging.WARNING), Image.open(io.BytesIO(encode_image(image, target))) as written:
        assert written.size == (30, 20) and b"junk" not in written.info.get("exif", b"")
        assert not {*written.getexif()} & {ExifTags.Base.Orientation}


def test_broken_exif_of_16_bits_stops_nothing_either():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)) + chunk(b"eXIf", b"II*\0\xff\xff")
    data = encode_image(ImageFile(np.array([[[1], [2]]], "uint16")))
    image = read_image(data[:8] + header + data[33:])
    assert image.pixels.ravel().tolist() == [1, 2]


def test_exif_that_jpeg_cannot_take_is_left_out_with_a_word(tmp_path, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    image = read_image(photo("PNG", exif=exif))
    write_image(tmp_path / "photo.jpg", image)
    assert "photo.jpg gets no EXIF data: JPEG takes at most 64 KB" in caplog.text
    with Image.open(tmp_path / "photo.jpg") as written:
        assert not written.getexif()
    with Image.open(io.BytesIO(encode_image(image, "PNG"))) as written:
        assert len(written.getexif()[ExifTags.Base.ImageDescription]) == 70_000


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("bits", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "profile, kept",
    [
        (SRGB + b"\0", SRGB),  # as it is found in files
        (SRGB[:-20], None),
        (b"x" * 200, None),
        (SRGB[:64] + b"\xff" * 4 + SRGB[68:], SRGB[:64] + b"\xff" * 4 + SRGB[68:]),  # libpng refuses this intent
    ],
)
def test_no_profile_spoils_an_output(format, bits, profile, kept):
    image = ImageFile(PIXELS.astype(bits), icc_profile=profile)
    data = encode_image(image, format)
    with Image.open(io.BytesIO(data)) as written:
        assert written.info.get("icc_profile") == kept
    again = read_image(data)
    if format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(again.pixels, image.pixels)


def test_a_name_that_is_no_utf_8_and_one_of_251_bytes(tmp_path):
    for name in (os.fsdecode(b"M\xfcnchen.png"), "ä" * 123 + "x.png", "x" * 246 + ".tiff", "x" * 251 + ".jpg"[:4]):
        path = tmp_path / name[-251:]
        write_image(path, ImageFile(PIXELS))
        assert read_image(path).pixels.shape == PIXELS.shape
    assert len([*tmp_path.iterdir()]) == 4


def test_mpo_goes_back_as_jpeg():
    data = photo("MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert read_image(data).format == "JPEG"
