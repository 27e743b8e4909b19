import io
import resource
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from keras_recon.images import ImageFile, encode_image, read_image, write_image
from keras_recon.images.reading import image_size

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILES = {1: SRGB[:16] + b"GRAY" + SRGB[20:], 3: SRGB}  # the name of the colour space is all that is looked at


def pixels(channels, dtype="uint8", size=(20, 30)):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (*size, channels), dtype)


def tensorflow():
    return pytest.importorskip("tensorflow", reason="decodes 16-bit PNG as another library")


@pytest.mark.parametrize("channels, with_alpha", [(1, False), (3, False), (3, True)])
def test_16_bit_png_out_is_what_tensorflow_reads(channels, with_alpha):
    array = pixels(channels + with_alpha, "uint16")
    image = ImageFile(array[..., :channels], alpha=array[..., channels:] if with_alpha else None, icc_profile=SRGB)
    decoded = tensorflow().io.decode_png(encode_image(image), dtype="uint16").numpy()
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_tensorflow_comes_in_and_back(channels):
    array = pixels(channels, "uint16")
    image = read_image(tensorflow().io.encode_png(array).numpy())
    color = 1 if channels < 3 else 3
    np.testing.assert_array_equal(image.pixels, array[..., :color])
    assert image.format == "PNG"
    if channels in (2, 4):
        np.testing.assert_array_equal(image.alpha, array[..., color:])
    else:
        assert image.alpha is None
    again = read_image(encode_image(image))
    np.testing.assert_array_equal(again.pixels[..., :color], image.pixels)  # gray with alpha is RGBA
    assert (again.alpha is None) or np.array_equal(again.alpha, image.alpha)


@pytest.mark.parametrize("channels, with_alpha", [(1, False), (3, False), (3, True)])
def test_16_bit_tiff_comes_in_and_goes_out(channels, with_alpha):
    array = pixels(channels + with_alpha, "uint16")
    image = ImageFile(array[..., :channels], array[..., channels:] if with_alpha else None, PROFILES[channels])
    data = encode_image(image, "TIFF")
    with Image.open(io.BytesIO(data)) as written:
        assert written.info["icc_profile"] == image.icc_profile
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)).reshape(array.shape), array)
    again = read_image(data)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert np.array_equal(again.alpha, image.alpha) and again.icc_profile == image.icc_profile


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_gray_with_alpha_in_16_bits_becomes_rgba(format):
    array = pixels(2, "uint16")
    again = read_image(encode_image(ImageFile(array[..., :1], array[..., 1:], PROFILES[1]), format))
    np.testing.assert_array_equal(again.pixels, array[..., [0, 0, 0]])
    np.testing.assert_array_equal(again.alpha, array[..., 1:])
    assert again.icc_profile is None


def test_other_formats_get_8_bits():
    array = pixels(3, "uint16")
    with Image.open(io.BytesIO(encode_image(ImageFile(array), "BMP"))) as written:
        np.testing.assert_array_equal(np.asarray(written), np.rint(array / 257))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_profile_and_exif_survive_and_the_orientation_is_applied(tmp_path, format):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was turned: upright after 90 degrees clockwise
    exif[ExifTags.Base.Make] = "camera"
    flat = np.zeros((20, 30, 3), "uint8")
    flat[:10, :, 0] = 200  # what lay on top
    file = io.BytesIO()
    Image.fromarray(flat).save(file, format, exif=exif, icc_profile=SRGB, quality=95)
    image = read_image(file.getvalue())
    assert image.format == format and image.pixels.shape == (30, 20, 3)
    assert image.pixels[:, 12:, 0].min() > 180 and image.pixels[:, :8, 0].max() < 20
    path = tmp_path / f"photo.{format.lower()}"
    write_image(path, image)
    with Image.open(path) as written:
        assert written.format == format and written.size == (20, 30)
        assert written.info["icc_profile"] == SRGB
        assert ExifTags.Base.Orientation not in written.getexif() or written.getexif()[ExifTags.Base.Orientation] == 1
        assert format == "TIFF" or written.getexif()[ExifTags.Base.Make] == "camera"
        np.testing.assert_allclose(np.asarray(written), image.pixels, atol={"JPEG": 4, "WEBP": 16}.get(format, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_are_turned_as_8_bits(tmp_path, orientation, kind):
    array = pixels(3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(array).save(tmp_path / f"8.{kind}", exif=exif)
    deep = array.astype("uint16") * 257
    if kind == "tiff":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / "16.tiff", deep, photometric="rgb", extratags=[tag])
    else:
        data = np.frombuffer(exif.tobytes().removeprefix(b"Exif\0\0"), "uint8")
        _, file = cv2.imencodeWithMetadata(".png", deep[..., ::-1], [cv2.IMAGE_METADATA_EXIF], [data])
        (tmp_path / "16.png").write_bytes(file.tobytes())
    eight, sixteen = (read_image(tmp_path / f"{bits}.{kind}") for bits in (8, 16))
    assert sixteen.pixels.dtype == np.uint16
    np.testing.assert_array_equal(sixteen.pixels, eight.pixels.astype("uint16") * 257)
    for bits in (8, 16):
        assert image_size(tmp_path / f"{bits}.{kind}") == eight.pixels.shape[:2]


@pytest.mark.parametrize(
    "mode, channels", [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_every_mode_becomes_gray_or_rgb(tmp_path, mode, channels):
    source = Image.fromarray(pixels(3)).convert(mode)
    source.save(tmp_path / "photo.tiff")
    image = read_image(tmp_path / "photo.tiff")
    expected = np.asarray(source.convert("L" if channels == 1 else "RGB")).reshape(20, 30, channels)
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.alpha is not None) == mode.endswith("A")


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_put_back(format, channels):
    image = ImageFile(pixels(channels), alpha=pixels(1, size=(20, 30))[::-1])
    with Image.open(io.BytesIO(encode_image(image, format))) as written:
        np.testing.assert_array_equal(np.asarray(written.getchannel("A")), image.alpha[..., 0])


def test_jpeg_shows_transparency_over_white():
    alpha = np.zeros((20, 30, 1), "uint8")
    for channels in (1, 3):
        image = ImageFile(np.zeros((20, 30, channels), "uint8"), alpha)
        with Image.open(io.BytesIO(encode_image(image, "JPEG"))) as written:
            assert written.mode == ("L" if channels == 1 else "RGB") and np.asarray(written).min() == 255


def test_a_profile_of_other_colours_is_left_out(tmp_path):
    Image.new("CMYK", (4, 4)).save(tmp_path / "photo.jpg", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    assert read_image(tmp_path / "photo.jpg").icc_profile is None


def test_a_gif_is_written_back_as_png(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "photo.gif")
    image = read_image(tmp_path / "photo.gif")
    assert image.format == "PNG" and image.pixels[0, 0].tolist() == [255, 0, 0] and image.alpha is None


@pytest.mark.parametrize("data", [b"no image", encode_image(ImageFile(pixels(3, "uint16")))[:1000]])
def test_broken_files_raise_one_sentence(tmp_path, data):
    with pytest.raises(ValueError, match=r"^Cannot read the image: "):
        read_image(data)
    (tmp_path / "photo.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"Cannot read the image .*photo\.png: "):
        read_image(tmp_path / "photo.png")


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_the_length_of_a_broken_chunk_takes_no_memory():
    data = bytearray(encode_image(ImageFile(pixels(3, "uint16"))))
    start = data.find(b"IDAT") - 4
    data[start : start + 4] = (2**31 - 2**16).to_bytes(4, "big")  # two gigabytes, of which there are no more bytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="Cannot read the image: Truncated"):
        read_image(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # in KiB


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="format='GIF'"):
        encode_image(ImageFile(pixels(3)), "GIF")
    with pytest.raises(ValueError, match=r"path='.*photo\.gif'"):
        write_image(tmp_path / "photo.gif", ImageFile(pixels(3)))
