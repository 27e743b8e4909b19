"""A file must be able to hold what it claims: a small one takes no memory."""

import io
import resource
import struct

import pytest
import tifffile
from file_kinds import chunk
from PIL import Image

from keras_recon.images import decoding as claims
from keras_recon.images import read_image

MIB = 2**20


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def bmp(width, height, compression=0):
    sizes = (40, width, height, 1, 8 if compression else 24, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 118, 0, 0, 54) + struct.pack("<IiiHHIIiiII", *sizes) + bytes(64)


def gif(width, height):
    picture = b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\2D\1\0;"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + picture


def png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\x9c\3\0") + chunk(b"IEND", b"")


def jpeg(width, height):
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp(width, height):
    size = (width - 1) | (height - 1) << 14
    content = b"\x2f" + size.to_bytes(4, "little") + bytes(27)
    return b"RIFF" + struct.pack("<I", 12 + len(content)) + b"WEBPVP8L" + struct.pack("<I", len(content)) + content


def tiff(width, height):
    buffer = io.BytesIO(encoded(Image.new("RGB", (8, 8)), "TIFF", compression="tiff_adobe_deflate"))
    with tifffile.TiffFile(buffer, mode="r+") as file:
        for tag, value in ((256, width), (257, height), (278, height)):
            file.pages.first.tags[tag].overwrite(value)
    return buffer.getvalue()


SMALL = {"bmp": bmp, "rle": lambda w, h: bmp(w, h, 1), "gif": gif, "png": png, "jpeg": jpeg, "webp": webp, "tiff": tiff}


@pytest.mark.parametrize("size", [(15_000, 16_000), (16_000, 16_000)])
@pytest.mark.parametrize("kind", SMALL)
def test_a_small_file_takes_no_memory(kind, size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"^Cannot read the image: ") as error:
        read_image(SMALL[kind](*size))
    assert "\n" not in str(error.value)
    if kind != "webp":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
    if size[0] == 16_000 and kind != "webp":  # of which Pillow says it
        assert "at most 250 megapixels. Received: 16000x16000 pixels" in str(error.value)


@pytest.mark.parametrize(
    "mode, format, options",
    [
        ("L", "PNG", {"compress_level": 9}),
        ("RGB", "PNG", {}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("L", "JPEG", {"progressive": True, "optimize": True, "quality": 1}),
        ("L", "GIF", {}),
        ("RGB", "WEBP", {"lossless": True, "method": 0}),
        ("L", "TIFF", {"compression": "zstd"}),
    ],
)
def test_flat_photos_of_30_megapixels_are_read(mode, format, options):
    assert read_image(encoded(Image.new(mode, (6000, 5000)), format, **options)).pixels.shape[:2] == (5000, 6000)


def test_the_bound_is_the_callers(monkeypatch):
    data = encoded(Image.new("L", (2000, 1000)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # of this process, for others
    assert read_image(data, 2).pixels.shape == (1000, 2000, 1)
    with pytest.raises(ValueError, match=r"it must have at most 1 megapixels. Received: 2000x1000 pixels"):
        read_image(data, 1)


def test_a_photo_for_which_there_is_no_memory_is_refused(monkeypatch):
    monkeypatch.setattr(claims, "memory_left", lambda: 10**8)
    with pytest.raises(
        ValueError, match=r"it needs 0.4 GB of memory, and 0.1 GB are available. Received: 6000x5000 pixels"
    ):
        read_image(encoded(Image.new("L", (6000, 5000)), "PNG"))
    read_image(encoded(Image.new("L", (600, 500)), "PNG"))


def test_memory_left_is_that_of_the_control_group(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "CGROUP", tmp_path)
    machine = claims.memory_left()
    assert machine > MIB
    for name, text in (("max", MIB), ("current", MIB // 2), ("stat", "anon 5\ninactive_file 1000\n")):
        (tmp_path / f"memory.{name}").write_text(str(text))
    assert claims.memory_left() == MIB // 2 + 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert claims.memory_left() > MIB
