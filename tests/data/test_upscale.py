"""Models that enlarge train on plain photos: their inputs are downscaled crops."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from keras_recon.data import RandomPairs, grid_pairs, load, load_photos, middle_parts
from keras_recon.degradations import GaussianNoise, degrade

SMALL = {"batch_size": 4, "steps_per_epoch": 3}


def downscaled(image, factor):
    """By Pillow, plane by plane."""
    size = image.shape[1] // factor, image.shape[0] // factor
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in np.moveaxis(image, -1, 0)]
    return np.clip(np.stack(planes, axis=-1), 0, 1)


def arrays(batches):
    return [tuple(np.asarray(images) for images in batch) for batch in batches]


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("turns", [False, True])
def test_clean_crops_are_those_of_the_photos_and_inputs_are_downscaled(factor, turns):
    photos, validation = load_photos("sample")
    large = RandomPairs(photos, (16 * factor, 16 * factor, 3), seed=3, quarter_turns=turns)
    pairs = RandomPairs(photos.for_upscale(factor), (16, 16, 3), seed=3, quarter_turns=turns)
    for index in range(8):
        small, clean = pairs(1, index)
        np.testing.assert_array_equal(clean, large(1, index)[1])
        np.testing.assert_array_equal(small, downscaled(clean, factor))
    small, clean = grid_pairs(validation.for_upscale(factor), (16, 24, 3), limit=9)
    np.testing.assert_array_equal(clean, grid_pairs(validation, (16 * factor, 24 * factor, 3), limit=9)[1])
    np.testing.assert_array_equal(small, [downscaled(crop, factor) for crop in clean])


def test_degradations_act_on_the_input():
    photos, validation = (part.for_upscale(2) for part in load_photos("sample"))
    noise = GaussianNoise(25)
    plain, noisy = (RandomPairs(photos, (16, 16, 3), 3, of).batch(2, 5, 6) for of in (None, noise))
    np.testing.assert_array_equal(noisy[1], plain[1])
    np.testing.assert_array_equal(noisy[0], degrade(plain[0], noise, (3, 2, 2), start=5))
    plain, noisy = (grid_pairs(validation, (16, 16, 3), degradation=of) for of in (None, noise))
    np.testing.assert_array_equal(noisy[0], degrade(plain[0], noise))


def test_batches_are_the_same_with_and_without_tensorflow(monkeypatch):
    pytest.importorskip("tensorflow")
    options = {"image_shape": (16, 16, 3), **SMALL, "upscale": 2, "seed": 5, "degradation": "noise:10"}
    by_tensorflow = [arrays(part) for part in load("sample", **options)]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find_spec(name))
    for part, expected in zip(load("sample", **options), by_tensorflow):
        assert all(np.array_equal(a, b) for x, y in zip(arrays(part), expected, strict=True) for a, b in zip(x, y))
    assert [images.shape for images in by_tensorflow[0][0]] == [(4, 16, 16, 3), (4, 32, 32, 3)]


def test_the_middle_photo_and_its_input():
    photos = load_photos("sample")[1].for_upscale(4)
    small, photo = middle_parts(photos, longest=90)
    assert photo.shape == (60, 88, 3)  # of (60, 90)
    np.testing.assert_array_equal(small, downscaled(photo, 4))


def test_decoded_photos_are_shared_and_names_stay():
    photos = load_photos("sample")[0]
    enlarging = photos.for_upscale(2)
    assert enlarging.store is photos.store and enlarging.fingerprint == photos.fingerprint
    assert photos.upscale == 1 and enlarging.upscale == 2 and not enlarging.is_paired


def test_pairs_must_have_that_size(tmp_path):
    for name, side in (("input", 20), ("target", 40)):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    for upscale in (None, 2):
        _, validation = load(tmp_path, (16, 16, 3), **SMALL, upscale=upscale)
        assert [images.shape[1:] for images in arrays(validation)[0]] == [(16, 16, 3), (32, 32, 3)]
    with pytest.raises(ValueError, match="A model that enlarges 4 times must have pairs"):
        load(tmp_path, (16, 16, 3), upscale=4)
    with pytest.raises(ValueError, match=r"`upscale` must be an integer from 1\. Received: upscale=0"):
        load("sample", (16, 16, 3), upscale=0)
