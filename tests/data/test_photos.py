import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_recon.data import Photos, RandomCrops, grid_crops, photo_grids, read_photo
from keras_recon.images.decoding import BadImage


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


@pytest.mark.parametrize(
    "values, received",
    [
        (np.array([[0.0, 255.0]], "float32"), "values from 0.0 to 255.0"),
        (np.array([[-0.5, 0.5]], "float32"), "values from -0.5 to 0.5"),
        (np.array([[0.0, np.nan]], "float32"), "values from nan to nan"),
        (np.array([[0, 65536]], "int32"), "values from 0 to 65536"),
        (np.array([[-1, 9]], "int32"), "values from -1 to 9"),
    ],
)
def test_pixels_out_of_range_are_refused(tmp_path, values, received):
    Image.fromarray(values).save(tmp_path / "photo.tiff")
    with pytest.raises(ValueError, match=rf"Cannot read the image .*photo\.tiff: .*Received: {received}"):
        read_photo(tmp_path / "photo.tiff", 1)


def test_float_pixels_from_0_to_1(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], "float32")).save(tmp_path / "photo.tiff")
    assert read_photo(tmp_path / "photo.tiff", 1)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_shown_over_white_or_kept(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))  # black, the right half transparent
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.convert(mode).save(tmp_path / "photo.png")
    for channels in (1, 3):
        assert read_photo(tmp_path / "photo.png", channels)[0, :, 0].tolist() == [0, 255]
    assert read_photo(tmp_path / "photo.png", 4)[0, :, 3].tolist() == [255, 0]


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


def test_decoded_photos_are_kept_up_to_the_limit():
    reads = []

    def read(key):
        reads.append(key)
        return np.zeros((10, 10, 3), "uint8")

    photos = Photos(range(4), read, cache_bytes=650)  # room for two photos of 300 bytes
    for _ in range(10):
        list(photos)
    assert len(reads) == 2 + 2 * 10


def reading(broken):
    def read(key):
        if key in broken:
            raise BadImage("torn", key)
        return np.full((16, 16, 3), ord(key), "uint8")

    return read


def test_a_bad_photo_is_replaced_by_the_next_one_whenever_it_is_met():
    photos = Photos("abcdefgh", reading("cf"), on_bad="skip")
    crops = RandomCrops(photos, (8, 8), seed=3)
    forward = [crops(epoch, i) for epoch in range(2) for i in range(8)]
    assert photos.bad == {"c": "torn", "f": "torn"}
    fresh = RandomCrops(Photos("abcdefgh", reading("cf"), on_bad="skip"), (8, 8), seed=3)
    backward = [fresh(epoch, i) for epoch in reversed(range(2)) for i in reversed(range(8))]
    np.testing.assert_array_equal(forward, backward[::-1])
    whole = RandomCrops(Photos("abcdefgh", reading("")), (8, 8), seed=3)
    for i, crop in enumerate(forward):
        epoch, index = divmod(i, 8)
        assert crops.photo(epoch, index) == chr(round(crop.mean() * 255))
        if whole.photo(epoch, index) not in "cf":  # the others stay where they were
            np.testing.assert_array_equal(crop, whole(epoch, index))


def test_bad_photos_are_an_error_where_that_is_asked_for_or_where_most_are_bad():
    with pytest.raises(ValueError, match="Cannot read the image c: torn"):
        grid_crops(Photos("abc", reading("c")), (8, 8), 8)
    assert len(grid_crops(Photos("abcd", reading("bc"), on_bad="skip"), (8, 8), 16)) == 2
    with pytest.raises(ValueError, match=r"3 of \d photos .* more than 50%, such as .: torn"):
        grid_crops(Photos("abcde", reading("bce"), on_bad="skip"), (8, 8), 16)
    with pytest.raises(ValueError, match="on_bad='ignore'"):
        Photos("abc", reading(""), on_bad="ignore")


def test_a_photo_that_is_too_small_is_bad_and_a_long_one_takes_little_memory():
    shapes = {"dot": (1, 1, 3), "line": (1, 10_000, 3), "strip": (8, 1_000_000, 3), "square": (64, 64, 3)}
    photos = Photos(list(shapes), lambda key: np.zeros(shapes[key], "uint8"), on_bad="skip")
    assert sum(len(part) for part in photo_grids(photos, (64, 64), 64)) == 16 + 1
    assert list(photos.bad) == ["dot", "line"]
    assert photos.bad["line"].startswith("1x10000 pixels are too few for crops of 64x64")


def test_sources_are_immutable_and_those_derived_share_what_is_bad(caplog):
    photos = Photos("abcdef", reading("cf"), on_bad="skip")
    with pytest.raises(dataclasses.FrozenInstanceError):
        photos.read = None
    small, unkept = photos.downscaled(9), photos.unkept()
    assert small.first_usable([2, 3]).shape == (9, 9, 3)
    assert photos.bad == unkept.bad == {"c": "torn"}
    assert list(unkept.first_usable([2, 3])[0, 0]) == [ord("d")] * 3
    assert caplog.text.count("c is left out: torn") == 1
    part = photos.subset("ab", bad={})
    assert not part.bad and [*part.keys] == ["a", "b"] and photos.bad


def test_photos_of_pairs_are_tuples_in_memory_or_not():
    def read(key):
        clean = np.full((20, 24, 3), ord(key), "uint8")
        return 255 - clean[::2, ::2], clean

    kept, unkept = (Photos("ab", read, size, is_paired=True, upscale=2) for size in (2**20, 0))
    for photos in (kept, kept, unkept):
        degraded, clean = photos[1]
        assert degraded.shape == (10, 12, 3) and clean.shape == (20, 24, 3)
        assert (degraded == 255 - ord("b")).all() and (clean == ord("b")).all()
    assert (kept.store.offsets >= 0).sum() == 1 and (unkept.store.offsets < 0).all()
