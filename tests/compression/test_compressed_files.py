"""Files of a codec: what `compress` writes and `decompress` reads."""

import importlib.util
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest
from compression.tiny_codecs import TINY, fill, levels_apart, photo, repaired, tiny_codec
from keras import ops

from keras_recon.compression import ImageCodec, compress, decompress, files, integer

pytest.importorskip("constriction", reason="files of a codec need constriction")
GOLDEN = Path(__file__).parents[1] / "golden" / "codec"


def padded(image):
    sides = [(0, -side % 32) for side in image.shape[:2]]
    return np.repeat(np.pad(image, [*sides, (0, 0)], "edge"), 3 // image.shape[2], axis=2)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 70, 3), (33, 31, 3), (40, 64, 1)])
def test_decoded_is_what_the_codec_itself_gives(codec, shape, monkeypatch):
    monkeypatch.setattr(files, "CARE", 1e9)  # latents are rounded to the nearest
    image = photo(*shape)
    decoded = decompress(codec, compress(codec, image, 1.0))
    assert decoded.dtype == np.uint8 and decoded.shape == shape
    outputs = codec((padded(image)[None] / np.float32(255), np.ones(1, "float32")))
    expected = 255 * ops.convert_to_numpy(outputs["images"])[0, : shape[0], : shape[1]]
    assert levels_apart(decoded, expected.mean(axis=2, keepdims=True) if shape[2] == 1 else expected).max() <= 1


def test_bits_that_are_not_worth_their_error_are_saved(monkeypatch):
    codec, image = tiny_codec(slices=(8, 40)), photo(64, 64)
    sizes, errors = [], []
    for care in (0.2, 1e9):
        monkeypatch.setattr(files, "CARE", care)
        data = compress(codec, image, 0.5)
        sizes.append(len(data))
        errors.append(np.square(levels_apart(decompress(codec, data), image)).mean())
    assert sizes[0] < 0.9 * sizes[1] and errors[0] < 1.1 * errors[1]
    estimated = ops.convert_to_numpy(codec(image[None] / np.float32(255))["bits_per_pixel"])[0]
    coded = 8 * (sizes[1] - files.HEADER.size - files.CHECKSUM.size) / 64**2
    assert abs(coded / estimated - 1) < 0.05


def test_tiles_show_no_seams(codec, monkeypatch):
    image = photo(60, 150)
    monkeypatch.setattr(files, "CARE", 1e9)
    of_whole = compress(codec, image, 1.0)
    whole = decompress(codec, of_whole)
    monkeypatch.setattr(files, "TILE", 64)
    assert levels_apart(decompress(codec, of_whole), whole).max() <= 1
    assert levels_apart(decompress(codec, compress(codec, image, 1.0)), whole).max() <= 1


@pytest.mark.parametrize("shape", [(150, 60, 3), (260, 40, 1)])
def test_strips_show_no_seams(codec, shape, monkeypatch):
    image = photo(*shape)
    monkeypatch.setattr(files, "CARE", 1e9)
    whole = decompress(codec, compress(codec, image, 1.0))
    monkeypatch.setattr(files, "TILE", 32)
    monkeypatch.setattr(files, "STRIP", 64)
    data = compress(codec, image, 1.0)
    assert levels_apart(decompress(codec, data), whole).max() <= 1
    start, rng = files.HEADER.size + 4, np.random.default_rng(0)
    for _ in range(20):  # what comes before the damage is decoded already when it is found
        coded = bytearray(data[start:])
        coded[rng.integers(len(coded)) :] = rng.bytes(rng.integers(200))
        with pytest.raises(ValueError, match="the checksum of its latents does not match"):
            decompress(codec, repaired(data[:start] + bytes(coded)))


def test_memory_of_a_photo_is_that_of_its_pixels_and_little_more(monkeypatch):
    """Its latents would be 12 bytes a pixel; NumPy's memory is counted."""
    monkeypatch.setattr(integer, "CHUNK", 2**9)
    monkeypatch.setattr(files, "TILE", 64)
    monkeypatch.setattr(files, "STRIP", 64)
    codec, peaks = tiny_codec(slices=(6, 14, 28, 56, 88)), []
    decompress(codec, compress(codec, photo(192, 64)))  # what is compiled once
    for height in (128, 512):
        image = photo(height, 64)
        tracemalloc.start()
        try:
            data = compress(codec, image)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
            decompress(codec, data)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert np.subtract(peaks[2:], peaks[:2]).max() < 6 * (512 - 128) * 64


def test_the_halo_of_a_tile_is_as_far_as_the_networks_see():
    codec = ImageCodec(**{**TINY, "num_blocks": (1, 2)})
    fill(codec, 0.1)
    knots, changed = codec.knots(np.array([0.5])), []
    image, values = np.full((1, 64, 256, 3), 0.5, "float32"), np.zeros((1, 8, 32, 8), "float32")
    for function, array, at in ((codec.analyse, image, 127), (codec.synthesise, values, 15)):
        other = array.copy()
        other[0, 32 * array.shape[1] // 64, at] += 3
        pair = (ops.convert_to_numpy(function(ops.convert_to_tensor(each), knots)) for each in (array, other))
        columns = np.nonzero(np.subtract(*pair).any(axis=(0, 1, 3)))[0]
        changed.append((columns.min(), columns.max()))
    # The encoder sees pixel 127 in patches of 8, and the decoder's pixels see latent 15, which is pixels 120 to 127.
    (first, last), halo = changed[0], files.reach(codec, 0)
    assert 8 * last <= 127 + halo and 8 * first + 7 >= 127 - halo
    assert 8 * (last - first) >= 2 * (halo - 16)
    (first, last), halo = changed[1], files.reach(codec, 1)
    assert last <= 127 + halo and first >= 120 - halo
    assert last - first > 2 * (halo - 16)


@pytest.mark.parametrize(
    "image, quality, message",
    [
        (photo(8, 8), 1.01, r"`quality` must be from 0 to 1\. Received: quality=1.01"),
        (photo(8, 8), float("nan"), "Received: quality=nan"),
        (photo(8, 8) / 255, 0.5, r"`image` must be uint8 .* Received: float64 \(8, 8, 3\)"),
        (np.zeros((8, 8, 4), "uint8"), 0.5, r"Received: uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8), "uint8"), 0.5, r"Received: uint8 \(8, 8\)"),
        (np.zeros((0, 8, 3), "uint8"), 0.5, r"Received: uint8 \(0, 8, 3\)"),
        (np.broadcast_to(np.uint8(0), (2**16, 1, 3)), 0.5, r"sides of at most 65,535\. Received: 65536x1"),
        (np.broadcast_to(np.uint8(0), (2**15, 2**14, 3)), 0.5, "at most 268,435,456 pixels"),
    ],
)
def test_what_no_file_can_have_is_refused(codec, image, quality, message):
    with pytest.raises(ValueError, match=message):
        compress(codec, image, quality)


def test_a_codec_of_no_numbers_makes_no_file():
    codec = tiny_codec()
    codec.mean.assign(np.full(192, np.nan))
    with pytest.raises(ValueError, match=r"numbers below 2\^31"):
        compress(codec, photo(8, 8))


def test_files_of_other_codecs_versions_and_kinds_are_refused(codec):
    data = compress(codec, photo(8, 8))
    other = codec.clone()
    other.log_gain.assign(other.log_gain + 1e-6)
    with pytest.raises(ValueError, match="made by another codec, or by this one before further training"):
        decompress(other, data)
    with pytest.raises(ValueError, match="has format version 9, and this keras_recon reads version 1"):
        decompress(codec, data[:3] + b"\x09" + data[4:])
    for kind in (b"", b"KRC", b"\x89PNG\r\n" + bytes(100)):
        with pytest.raises(ValueError, match="must be one that keras_recon compressed"):
            decompress(codec, kind)


def test_a_file_of_another_backend_is_read():
    """`golden/make_codec.py` made it, with TensorFlow."""
    codec = keras.saving.load_model(GOLDEN / "codec.keras")
    golden = np.load(GOLDEN / "photo.npz")
    for name in ("low", "high"):
        data = golden[name].tobytes()
        assert levels_apart(decompress(codec, data), golden[f"decoded_{name}"]).max() <= 1
    # And what this backend writes is as long.
    assert abs(len(compress(codec, golden["photo"], 0.9)) - len(golden["high"])) <= 4


SCRIPT = """
import sys, keras, numpy as np
from keras_recon.compression import compress, decompress
codec = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[2] + "/decoded.npy", decompress(codec, open(sys.argv[2] + "/here.krc", "rb").read()))
open(sys.argv[2] + "/there.krc", "wb").write(compress(codec, np.load(sys.argv[2] + "/photo.npy"), 0.6))
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_process_of_another_backend_and_this_one_read_each_others_files(backend, threads, tmp_path):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    codec, image = ImageCodec.from_preset(GOLDEN / "codec.keras"), np.load(GOLDEN / "photo.npz")["photo"]
    here = compress(codec, image, 0.6)
    (tmp_path / "here.krc").write_bytes(here)
    np.save(tmp_path / "photo.npy", image)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {**os.environ, "KERAS_BACKEND": backend, **dict.fromkeys(names, threads)}
    subprocess.run([sys.executable, "-c", SCRIPT, GOLDEN / "codec.keras", tmp_path], env=environment, check=True)
    decoded = decompress(codec, here)
    assert levels_apart(np.load(tmp_path / "decoded.npy"), decoded).max() <= 1  # of the same latents
    there = decompress(codec, (tmp_path / "there.krc").read_bytes())
    assert levels_apart(there, decoded).mean() < 0.1  # encoders compute in floats
