"""Colours that decoders give otherwise than the file means them."""

import io

import numpy as np
import pytest
import tifffile
from contracts import random_images
from models.test_autoencoder import TINY
from PIL import Image, ImageCms

import keras_recon
from keras_recon.images import ImageFile, encode_image, read_image
from keras_recon.images.pixels import from_float

RNG = np.random.default_rng(0)
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def saved(array, format="TIFF", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format, **options)
    return buffer.getvalue()


def cmyk_profile():
    """A profile from CMYK to Lab with a table of two values a colour: 255 for no ink at L=100, 0 for all inks."""
    grid = np.indices((2, 2, 2, 2)).reshape(4, -1).T  # cyan changes slowest
    lightness = (1 - grid[:, :3].mean(axis=1) * 0.8) * (1 - grid[:, 3] * 0.9)
    lab = np.stack([lightness * 65280, np.full(16, 32896), np.full(16, 32896)], axis=1).astype(">u2").tobytes()
    identity = np.array([0, 65535] * 4, ">u2").tobytes()
    outputs = np.array([0, 65535] * 3, ">u2").tobytes()
    matrix = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 65536], ">i4").tobytes()
    table = b"mft2\0\0\0\0\4\3\2\0" + matrix + np.array([2, 2], ">u2").tobytes() + identity + lab + outputs
    table += b"\0" * (-len(table) % 4)
    text = b"desc\0\0\0\0\0\0\0\5test\0" + b"\0" * 79
    white = b"XYZ \0\0\0\0" + np.array([63190, 65536, 54061], ">i4").tobytes()
    parts = {b"A2B0": table, b"desc": text, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    offset, tags, body = 128 + 4 + 12 * len(parts), b"", b""
    for name, part in parts.items():
        part += b"\0" * (-len(part) % 4)
        tags += name + np.array([offset + len(body), len(part)], ">u4").tobytes()
        body += part
    size = offset + len(body)
    header = np.array([size], ">u4").tobytes() + b"lcms\2\x40\0\0prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    header += np.array([63190, 65536, 54061], ">i4").tobytes()
    return header.ljust(128, b"\0") + np.array([len(parts)], ">u4").tobytes() + tags + body


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_profile(format):
    profile, inks = cmyk_profile(), RNG.integers(0, 256, (8, 8, 4), dtype="uint8")
    image = Image.fromarray(inks, "CMYK")
    buffer = io.BytesIO()
    image.save(buffer, format, icc_profile=profile, quality=100)
    with Image.open(io.BytesIO(buffer.getvalue())) as written:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        expected = np.asarray(ImageCms.profileToProfile(written, source, srgb, outputMode="RGB"))
        assert np.abs(expected.astype(int) - np.asarray(written.convert("RGB"))).max() > 20
    found = read_image(buffer.getvalue())
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.icc_profile is None


def test_cmyk_of_16_bits_is_converted_by_its_profile():
    inks = RNG.integers(0, 256, (8, 8, 4), dtype="uint8")
    files = []
    for array in (inks, inks.astype("uint16") * 257):
        files.append(io.BytesIO())
        tifffile.imwrite(files[-1], array, photometric="separated", iccprofile=cmyk_profile())
    eight, sixteen = (read_image(file.getvalue()).pixels for file in files)
    np.testing.assert_array_equal(eight, sixteen)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "raw"])
def test_faxes(compression):
    image = Image.fromarray(RNG.integers(0, 2, (30, 50)) > 0)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression=compression)
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels[..., 0], np.asarray(image) * 255)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_ycbcr_is_as_pillow_reads_it(compression):
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (16, 16, 3), dtype="uint8")).convert("YCbCr").save(
        buffer, "TIFF", compression=compression
    )
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels, np.asarray(image.convert("RGB")))


def test_32_bits_become_16():
    buffer = io.BytesIO()
    array = RNG.integers(0, 2**32, (4, 5), dtype="uint32")
    tifffile.imwrite(buffer, array, photometric="minisblack")
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels[..., 0], np.rint(array / (2**32 - 1) * 65535))


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_palettes(bits):
    buffer, indices = io.BytesIO(), RNG.integers(0, 2**bits, (20, 33), dtype="uint16" if bits == 16 else "uint8")
    colours = RNG.integers(0, 256, (3, 2**bits), dtype="uint16")
    if bits == 1:
        palette = Image.fromarray(indices).convert("P")
        palette.putpalette(colours.T.astype("uint8").tobytes())
        palette.save(buffer, "TIFF", bits=1)
    else:
        tifffile.imwrite(buffer, indices, photometric="palette", colormap=colours * 257)
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels, colours.T[indices])


@pytest.mark.parametrize("dtype", ["int8", "int16", "complex64", "float32"])
def test_samples_whose_white_nobody_knows_are_refused(dtype):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((4, 5), -2).astype(dtype), photometric="minisblack")
    with pytest.raises(ValueError, match=r"Cannot read the image: .*Received: (8 bits of int8|64|values)"):
        read_image(buffer.getvalue())


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 3}])
def test_a_tiff_that_ends_early_is_refused(options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RNG.integers(0, 256, (50, 70, 3), dtype="uint8"), photometric="rgb", **options)
    for end in range(0, len(buffer.getvalue()) - 1, 499):
        with pytest.raises(ValueError, match=r"^Cannot read the image: "):
            read_image(buffer.getvalue()[:end])


@pytest.fixture(scope="module")
def model():
    model = keras_recon.models.ConvAutoencoder(**TINY, linear_path=True)
    model.adapt(random_images(40, 16, 16, 3))
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_hidden_does_not_change_what_is_seen(model, channels, dtype):
    top = np.iinfo(dtype).max
    rows, columns = np.mgrid[:40, :50]
    alpha = np.where((rows - 20) ** 2 + (columns - 25) ** 2 < 150, top, 0).astype(dtype)[..., None]
    photo = from_float(random_images(1, 40, 50, channels)[0], dtype)
    seen = []
    for hidden in (0, top, 7):
        image = ImageFile(np.where(alpha > 0, photo, hidden).astype(dtype), alpha)
        image.replace_pixels(keras_recon.reconstruct(model, image.of_channels(3)))
        seen.append(image.pixels[alpha[..., 0] > 0].astype(int))
        assert image.alpha is alpha and read_image(encode_image(image)).alpha.any()
    assert np.abs(seen[0] - seen[1]).max() <= 1 and np.abs(seen[0] - seen[2]).max() <= 1


def test_hidden_pixels_get_the_nearest_visible_colour_and_all_hidden_ones_stay():
    pixels, alpha = np.zeros((1, 5, 1), "uint8"), np.array([[[9], [0], [0], [0], [1]]], "uint8")
    pixels[0, 0], pixels[0, 4] = 10, 20
    assert ImageFile(pixels, alpha).of_channels(3).ravel().tolist() in ([10, 10, 10, 20, 20], [10, 10, 20, 20, 20])
    assert ImageFile(pixels, alpha * 0).of_channels(3) is pixels
    assert ImageFile(pixels, alpha).of_channels(4).shape == (1, 5, 4)
