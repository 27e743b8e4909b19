import io

import numpy as np
import pytest
import skimage.data
from PIL import ExifTags, Image, features

from keras_recon.data import folder_photos
from keras_recon.images import read_image, write_image
from keras_recon.images.decoding import BadImage, ImageFile

PHOTO = skimage.data.cat()[:200, :320]
KINDS = [
    pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")),
    "HEIF",
]


def encoded(format, **options):
    if format == "HEIF":
        pytest.importorskip("pillow_heif", reason="HEIC needs the extra `heif`").register_heif_opener()
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, format, quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", KINDS)
def test_pixels_are_those_that_pillow_reads(format):
    data = encoded(format)
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(io.BytesIO(data))))
    assert image.format == "PNG"  # what is made of it is written as


@pytest.mark.parametrize("format", KINDS[:1])  # pillow-heif turns HEIC itself, and writes none that is turned
def test_a_turned_photo_stands_upright_and_keeps_what_describes_it(format, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, "somebody"  # to be turned clockwise
    image = read_image(encoded(format, exif=exif))
    upright = np.rot90(PHOTO, -1).astype("int16")
    assert image.pixels.shape == upright.shape and np.abs(image.pixels - upright).mean() < 3
    write_image(tmp_path / "photo.png", image)
    with Image.open(tmp_path / "photo.png") as written:
        kept = written.getexif()
        assert kept.get(ExifTags.Base.Orientation, 1) == 1 and kept[ExifTags.Base.Artist] == "somebody"


def test_folders_hold_them(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(encoded("HEIF"))
    write_image(tmp_path / "b.png", ImageFile(PHOTO))
    photos = folder_photos(tmp_path)
    assert photos.keys == ["a.HEIC", "b.png"] and photos[0].shape == PHOTO.shape


@pytest.mark.parametrize("brand", [b"mif1", b"msf1"])
def test_heic_of_a_brand_that_avif_has_too(brand):
    data = encoded("HEIF")
    np.testing.assert_array_equal(read_image(data[:8] + brand + data[12:]).pixels, read_image(data).pixels)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1"])
def test_without_the_package_the_extra_is_named(monkeypatch, brand):
    data = encoded("HEIF")
    data = data[:8] + brand + data[12:]
    monkeypatch.delitem(Image.OPEN, "HEIF")
    with pytest.raises(BadImage, match=r"HEIC needs the package pillow-heif, of the extra `heif`: pip install -e"):
        read_image(data)
