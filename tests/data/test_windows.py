"""Windows of JPEG files have the pixels of a decoding in full, bit for bit, or are not given."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="windows are decoded by TensorFlow")
from keras_recon.data import Photos, RandomCrops, RandomPairs, folder_photos, load_photos, read_photo
from keras_recon.data.batches import decode_window
from keras_recon.images.decoding import BadImage
from keras_recon.images.reading import jpeg_header


def picture(height, width, seed=0):
    """Colours that change from pixel to pixel, so that every neighbour counts."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), "uint8"))
    smooth = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype("uint8")


def by_pillow(**options):
    def encode(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", **options)
        return file.getvalue()

    return encode


def by_opencv(sampling):
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_QUALITY, 90]
    return lambda image: cv2.imencode(".jpg", image, options)[1].tobytes()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return by_pillow(exif=exif, subsampling=2)


def gray(image):
    return by_pillow(quality=85)(image[..., 0])


PLAIN = {
    **{f"4:4:4, 4:2:2, 4:2:0 [{i}]": by_pillow(subsampling=i, quality=70 + 10 * i) for i in range(3)},
    "restarts": by_pillow(subsampling=2, restart_marker_blocks=3),
    "optimized": by_pillow(subsampling=2, optimize=True, quality=40),
    "RGB": by_pillow(keep_rgb=True),
    "4:1:1": by_opencv(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
    "4:4:0": by_opencv(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "gray": gray,
    **{f"orientation {i}": oriented(i) for i in range(2, 9)},
}


def windows(height, width, count, seed=0):
    """(corner, size) of windows, of which some touch the borders."""
    rng = np.random.default_rng(seed)
    yield (0, 0), (height, width)
    for _ in range(count):
        size = [int(rng.integers(1, side + 1)) for side in (height, width)]
        corner = [
            int(rng.choice([0, side - length, rng.integers(side - length + 1)]))
            for side, length in zip((height, width), size)
        ]
        yield tuple(corner), tuple(size)


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("shape", [(96, 128), (75, 133), (17, 9)])
def test_windows_are_those_of_the_whole_photo(tmp_path, kind, shape):
    path = tmp_path / "photo.jpg"
    path.write_bytes(PLAIN[kind](picture(*shape)))
    whole = read_photo(path, 3)
    header = jpeg_header(path)
    assert header[:2] == whole.shape[:2]
    for (top, left), (height, width) in windows(*header[:2], count=60):
        window = decode_window(path, header, (top, left), (height, width))
        expected = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(np.broadcast_to(window, expected.shape), expected)


def test_other_files_are_read_in_full(tmp_path):
    image = picture(40, 60)
    whole = by_pillow(quality=90)(image)
    files = {
        "progressive.jpg": by_pillow(progressive=True)(image),
        "cmyk.jpg": cmyk(image),
        "torn.jpg": whole[:-40],
        "torn and ended.jpg": whole[:600] + b"\xff\xd9" + whole[700:],
        "no.jpg": b"no image",
        "png.jpg": cv2.imencode(".png", image)[1].tobytes(),
        "late.jpg": whole + b"what some phones put behind it",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert jpeg_header(tmp_path / name) is None, name


def cmyk(image):
    file = io.BytesIO()
    Image.fromarray(image).convert("CMYK").save(file, "jpeg")
    return file.getvalue()


def test_damaged_files_give_the_same_or_nothing(tmp_path):
    """A window of a photo that cannot be read would be there or not by chance."""
    rng = np.random.default_rng(0)
    path, seen = tmp_path / "photo.jpg", 0
    for i in range(150):
        data = bytearray(by_pillow(subsampling=i % 3, quality=80)(picture(64, 80, i)))
        for at in rng.integers(2, len(data) - 2, 2):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        header = jpeg_header(path)
        try:
            whole = read_photo(path, 3)
        except BadImage:
            whole = None
        for (top, left), (height, width) in windows(*header[:2], count=3, seed=i) if header else ():
            window = decode_window(path, header, (top, left), (height, width))
            if window is not None:
                expected = whole[top : top + height, left : left + width]
                np.testing.assert_array_equal(np.broadcast_to(window, expected.shape), expected)
                seen += 1
    assert seen > 100


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_crops_are_the_same_with_and_without_windows(tmp_path, channels):
    for i, encode in enumerate([*PLAIN.values(), by_pillow(progressive=True), cmyk]):
        (tmp_path / f"{i:02}.jpg").write_bytes(encode(picture(50 + i, 70, i)))
    (tmp_path / "small.jpg").write_bytes(by_pillow()(picture(16, 16)))
    photos = folder_photos(tmp_path, channels)
    decoded = []

    def decode(*args):
        decoded.append(args)
        return decode_window(*args)

    count = 3 * len(photos)
    whole = RandomCrops(photos, (32, 32), seed=1).batch(0, 0, count)[0]
    by_windows = RandomCrops(photos.unkept(), (32, 32), seed=1).batch(0, 0, count, decode)[0]
    np.testing.assert_array_equal(by_windows, whole)
    assert len(decoded) == 3 * len(PLAIN)  # the others are read in full


def test_photos_that_find_room_are_kept_and_read_in_full(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(by_pillow()(picture(40, 40, i)))
    photos = folder_photos(tmp_path)
    photos = Photos(photos.keys, photos.read, 2 * 40 * 40 * 3, paths=photos.paths, file_channels=3)  # room for two
    calls = []
    crops = RandomCrops(photos, (16, 16), seed=0)
    for _ in range(2):
        crops.batch(0, 0, 4, lambda path, *args: calls.append(path) or decode_window(path, *args))
    assert len(calls) == 4 and len(set(calls)) == 2
    assert (photos.store.offsets >= 0).sum() == 2


def test_pairs_of_files_are_read_in_full(tmp_path):
    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            (tmp_path / folder / f"{i}.jpg").write_bytes(by_pillow()(picture(40, 50, i + 10 * len(folder))))
    photos, _ = load_photos(tmp_path / "input", target=tmp_path / "target")
    kept, unkept = (
        RandomPairs(each, (16, 16, 3), seed=0).batch(0, 0, 9, decode_window) for each in (photos, photos.unkept())
    )
    for a, b in zip(kept, unkept, strict=True):
        np.testing.assert_array_equal(a, b)
