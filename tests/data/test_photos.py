import numpy as np
import pytest
from PIL import Image

from keras_recon.data import Photos, read_photo


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype="uint8")


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path, photo, extension):
    path = tmp_path / f"photo.{extension}"
    Image.fromarray(photo).save(path, **({"lossless": True} if extension == "webp" else {}))
    np.testing.assert_array_equal(read_photo(path, 3), photo)


def test_jpeg_and_the_first_frame_of_a_gif(tmp_path):
    flat = [Image.new("RGB", (30, 20), color) for color in ((200, 100, 50), (0, 0, 0))]
    flat[0].save(tmp_path / "photo.jpg", quality=95)
    flat[0].save(tmp_path / "photo.gif", save_all=True, append_images=flat[1:])
    for name in ("photo.jpg", "photo.gif"):
        np.testing.assert_allclose(read_photo(tmp_path / name, 3), np.broadcast_to((200, 100, 50), (20, 30, 3)), atol=2)


def test_exif_orientation_is_undone(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown upright after 90 degrees clockwise
    Image.fromarray(photo).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png", 3), np.rot90(photo, -1))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path, photo):
    Image.fromarray(photo[..., 0].astype("uint16") * 257).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png", 1)[..., 0], photo[..., 0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_becomes_the_channels_asked_for(tmp_path, photo, mode, channels):
    Image.fromarray(photo).convert(mode).save(tmp_path / "photo.tiff")
    image = read_photo(tmp_path / "photo.tiff", channels)
    assert image.shape == (20, 30, channels) and image.dtype == np.uint8


def test_photos_read_by_key():
    photos = Photos("abc", lambda key: np.full((2, 2, 1), ord(key), "uint8"))
    assert len(photos) == 3
    assert [photo[0, 0, 0] for photo in photos] == [97, 98, 99]
