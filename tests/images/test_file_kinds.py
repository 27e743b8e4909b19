"""Generated files of all kinds: each has the pixels that were written into it, or is refused in one sentence."""

import io
from collections import Counter
from itertools import islice

import file_kinds
import numpy as np
import pytest
from PIL import Image

from keras_recon.images import BadImage, read_image


def outcome(tmp_path, data, pixels, tolerance):
    """ "accepted", "refused" or "wrong", as it is read from a path and from bytes alike."""
    path = tmp_path / "photo"
    path.write_bytes(data)
    found = []
    for source in (path, data):
        try:
            found.append(read_image(source).array)
        except BadImage as error:
            assert "\n" not in str(error)
    if not found:
        return "refused"
    if len(found) == 1 or not np.array_equal(*found) or found[0].dtype != pixels.dtype:
        return "wrong"
    equal = found[0].shape == pixels.shape and np.abs(found[0].astype("int32") - pixels).max() <= tolerance
    return "accepted" if equal else "wrong"


def by_pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", ["tiffs", "pngs", "bmps"])
@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_files_of_all_kinds_are_read_right_or_refused(tmp_path, kind, count):
    counts, wrong = Counter(), []
    for name, data, pixels in islice(getattr(file_kinds, kind)(np.random.default_rng(count)), count):
        tolerance = "assocalpha" in name  # of a product that was rounded, the colour is known to a level
        result = outcome(tmp_path, data, by_pillow(data) if pixels is None else pixels, tolerance)
        counts[result] += 1
        if result != "accepted":
            wrong.append((result, name))
    print(kind, dict(counts))
    assert wrong == []
