import numpy as np
import pytest

from keras_recon import degradations
from keras_recon.data import (
    Photos,
    RandomCrops,
    load_photos,
    middle_photo,
    photos_of_step,
    spread,
    training_batches,
    validation_batches,
)
from keras_recon.images.decoding import BadImage

SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def photos():
    return load_photos("sample")


def arrays(batches):
    return [tuple(np.asarray(images) for images in batch) for batch in batches]


def test_batches_are_the_crops_in_order(photos):
    batches = arrays(training_batches(photos[0], SHAPE, batch_size=4, steps_per_epoch=3, epochs=2, seed=5))
    crops = RandomCrops(photos[0], SHAPE[:2], seed=5)
    assert len(batches) == 6
    for i, (degraded, clean) in enumerate(batches):
        epoch, step = divmod(i, 3)
        np.testing.assert_array_equal(clean, [crops(epoch, 4 * step + k) for k in range(4)])
        np.testing.assert_array_equal(degraded, clean)
        assert clean.dtype == np.float32


def test_resuming_gives_the_batches_of_an_uninterrupted_run(photos):
    options = {"batch_size": 4, "steps_per_epoch": 3, "epochs": 4, "seed": 1}
    whole = arrays(training_batches(photos[0], SHAPE, **options))
    rest = arrays(training_batches(photos[0], SHAPE, **options, first_step=4))
    np.testing.assert_array_equal(whole[4:], rest)  # from the middle of an epoch
    assert not np.array_equal(whole[0], whole[3])  # the epochs differ


def test_the_photos_of_a_step_are_those_of_its_crops():
    images = [np.full((16, 16, 3), i, "uint8") for i in range(7)]
    photos = Photos([f"{i}.png" for i in range(7)], lambda name: images[int(name[0])])
    options = {"batch_size": 4, "steps_per_epoch": 3, "seed": 1}
    for step, (_, clean) in enumerate(arrays(training_batches(photos, SHAPE, **options, epochs=2))):
        names = {f"{round(255 * crop.mean())}.png" for crop in clean}
        assert photos_of_step(photos, SHAPE, **options, step=step) == sorted(names)


@pytest.mark.parametrize("text", ["noise:0-50", "mask:0.5", "strokes:0.3", "motion:5+downsample:2+jpeg:30"])
def test_degraded_batches_are_direct_calls_bit_for_bit_and_their_clean_ones_as_ever(photos, text):
    degradation = degradations.from_string(text)
    options = {"batch_size": 4, "steps_per_epoch": 3, "epochs": 3, "seed": 1}
    batches = arrays(training_batches(photos[0], SHAPE, **options, degradation=degradation))
    undegraded = arrays(training_batches(photos[0], SHAPE, **options))
    np.testing.assert_array_equal([clean for _, clean in batches], [clean for _, clean in undegraded])
    for i, (degraded, clean) in enumerate(batches):
        epoch, step = divmod(i, 3)
        rngs = [np.random.Generator(np.random.PCG64DXSM((1, 2, epoch)).jumped(4 * step + k)) for k in range(4)]
        np.testing.assert_array_equal(degraded, [degradation(*pair) for pair in zip(clean, rngs)])
    options["first_step"] = 6
    resumed = arrays(training_batches(photos[0], SHAPE, **options, degradation=degradation))
    np.testing.assert_array_equal(batches[6:], resumed)


def test_validation_is_degraded_in_the_same_way_each_time(photos):
    noise = degradations.GaussianNoise(25)
    batches = validation_batches(photos[1], SHAPE, batch_size=32, limit=50, degradation=noise)
    first, second = arrays(batches), arrays(batches)
    clean = np.concatenate([clean for _, clean in first])
    np.testing.assert_array_equal(np.concatenate([d for d, _ in first]), degradations.degrade(clean, noise))
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def test_all_pipelines_share_what_is_decoded():
    reads, counts = [], []
    photos = Photos(range(6), lambda i: reads.append(i) or np.zeros((20, 20, 3), "uint8"))
    for seed in (0, 1):
        arrays(training_batches(photos, SHAPE, batch_size=6, steps_per_epoch=2, epochs=1, seed=seed))
        counts.append(len(reads))
    # Two threads of the first pipeline may decode a photo at the same time.
    assert set(reads) == set(range(6)) and counts[0] == counts[1]


def test_validation_is_the_same_each_time_and_covers_every_photo(photos):
    batches = validation_batches(photos[1], SHAPE, batch_size=32, limit=50)
    first, second = arrays(batches), arrays(batches)
    assert sum(len(clean) for _, clean in first) == 48  # 3 photos, 16 crops each
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def test_spread_takes_the_richest_of_each_part():
    images = [np.full((16, 16, 3), 10 * i, "uint8") for i in range(10)]
    for rich in (1, 6):
        images[rich][8:] += 1
    photos = Photos(range(10), images.__getitem__)
    degraded, clean = spread(validation_batches(photos, SHAPE, batch_size=3), 5)
    assert np.rint(clean[:, 0, 0, 0] * 255).tolist() == [10, 20, 40, 60, 80]
    np.testing.assert_array_equal(degraded, clean)
    assert len(spread(validation_batches(photos, SHAPE, batch_size=3), 99)[0]) == 10


def test_the_middle_photo_is_scaled_down():
    rows = np.linspace(0, 255, 90).astype("uint8")[:, None, None]
    photos = Photos(range(5), lambda i: np.broadcast_to(rows, (90, 60, 3)) // (1 + abs(i - 2)))
    photo = middle_photo(photos, longest=30)
    assert photo.shape == (30, 20, 3) and photo.dtype == np.float32
    np.testing.assert_allclose(photo, np.broadcast_to(np.linspace(0, 1, 30)[:, None, None], photo.shape), atol=0.03)
    np.testing.assert_array_equal(middle_photo(photos, longest=90), photos[2] / np.float32(255))


def test_a_bad_photo_is_not_the_middle_one():
    def read(i):
        if i == 2:
            raise BadImage("is broken", i)
        return np.full((4, 4, 1), 10 * i, "uint8")

    assert round(255 * float(middle_photo(Photos(range(4), read, on_bad="skip"), longest=9).mean())) == 30
