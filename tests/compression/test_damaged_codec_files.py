"""Files of a codec that are damaged: each is refused in one sentence."""

import numpy as np
import pytest
from compression.tiny_codecs import levels_apart, photo, repaired

from keras_recon.compression import compress, decompress, files

pytest.importorskip("constriction", reason="files of a codec need constriction")


def damaged(data: bytes, rng) -> bytes:
    """With some bits flipped, a part cut out, or some bytes put in."""
    array = bytearray(data)
    kind, start = rng.integers(4), rng.integers(len(array))
    if kind == 0:
        for at in rng.integers(0, 8 * len(array), rng.integers(1, 9)):
            array[at // 8] ^= 1 << at % 8
    elif kind == 1:
        del array[start : start + rng.integers(1, 40)]
    elif kind == 2:
        del array[start:]
    else:
        array[start:start] = rng.bytes(rng.integers(1, 40))
    return bytes(array)


def test_damaged_files_are_refused_in_a_sentence(codec):
    image = photo(64, 64)
    data = compress(codec, image, 0.3)
    whole, rng = decompress(codec, data), np.random.default_rng(0)
    refused = 0
    for i in range(2000):
        file = damaged(data, rng)
        mended = i % 4 == 0 and len(file) >= files.HEADER.size + 4
        try:
            decoded = decompress(codec, repaired(file) if mended else file)
        except ValueError as error:
            assert "\n" not in str(error) and 20 < len(str(error)) < 200
            refused += 1
        else:  # only what the header tells of the size can be other, by someone who mends the checksum
            assert mended and decoded.shape[0] <= 64 and decoded.shape[1] <= 64
            same = whole[: decoded.shape[0], : decoded.shape[1]]
            assert decoded.shape[2] == 1 or levels_apart(decoded, same).max() == 0
    assert refused > 1950


def test_coded_latents_are_damaged_where_only_their_own_checksum_tells(codec):
    """Everything before them says that the file is whole."""
    data = compress(codec, photo(64, 64), 0.3)
    start, rng = files.HEADER.size + 4, np.random.default_rng(0)
    messages = set()
    for _ in range(300):
        coded = bytearray(data[start:])
        coded[rng.integers(len(coded)) :] = rng.bytes(rng.integers(200))
        with pytest.raises(ValueError) as error:
            decompress(codec, repaired(data[:start] + bytes(coded)))
        messages.add(str(error.value))
    assert messages == {"The file is corrupt: the checksum of its latents does not match"}
    # A size that the bytes cannot hold is refused before anything is made for it.
    large = bytearray(data)
    large[10:14] = b"\xff" * 4
    with pytest.raises(ValueError, match="The file claims 65535x65535 pixels of 3 channels, which it cannot hold"):
        decompress(codec, repaired(bytes(large)))
