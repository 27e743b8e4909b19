import importlib.util
import logging

import keras
import numpy as np
import pytest
from PIL import Image

from keras_recon.data import RandomPairs, load, load_photos, spread
from keras_recon.degradations import Degradation, GaussianNoise

pytest.importorskip("tensorflow", reason="without it, see tests/test_without_tensorflow.py")
SHAPE = (16, 16, 3)
SMALL = {"image_shape": SHAPE, "batch_size": 4, "steps_per_epoch": 3}


@pytest.fixture
def without_tensorflow(monkeypatch):
    """`load` does not find TensorFlow."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find_spec(name))


@pytest.fixture
def paths(tmp_path):
    """Twenty photos, of which the hash sends some to validation."""
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), "uint8")).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.iterdir())


def arrays(batches):
    return [tuple(np.asarray(images) for images in batch) for batch in batches]


def equal(first, second):
    return all(np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y))


def test_batches_have_known_shapes_and_an_epoch_its_length():
    training, validation = load("sample", **SMALL)
    assert len(training) == len(arrays(training)) == 3
    assert len(validation) == len(arrays(validation)) > 1
    for batches in (training, validation):
        for spec in batches.element_spec:
            assert tuple(spec.shape)[1:] == SHAPE and spec.dtype == "float32"
    for degraded, clean in arrays(training):
        assert clean.shape == (4, *SHAPE) and 0 <= clean.min() < clean.max() <= 1
        np.testing.assert_array_equal(degraded, clean)


def test_each_iteration_has_the_crops_of_the_next_epoch_and_validation_ever_the_same():
    training, validation = load("sample", **SMALL, seed=7, degradation="noise:25")
    epochs = [arrays(training) for _ in range(3)]
    pairs = RandomPairs(load_photos("sample")[0], SHAPE, seed=7, degradation=GaussianNoise(25))
    for epoch, batches in enumerate(epochs):
        for step, batch in enumerate(batches):
            for k, pair in enumerate(zip(*batch)):
                np.testing.assert_array_equal(pair, pairs(epoch, 4 * step + k))
    assert not equal(epochs[0], epochs[1])
    again = load("sample", **SMALL, seed=7, degradation="noise:25")[0]
    assert all(equal(epoch, arrays(again)) for epoch in epochs)
    other = load("sample", **SMALL, seed=8, degradation="noise:25")[0]
    assert not equal(epochs[0], arrays(other))
    assert equal(arrays(validation), arrays(validation))


def test_without_tensorflow_there_are_the_same_batches(without_tensorflow):
    options = {**SMALL, "seed": 3, "degradation": "noise:0-50"}
    parts = load("sample", **options)
    assert all(isinstance(part, keras.utils.PyDataset) for part in parts)
    training, validation = parts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: True)
        by_tensorflow = load("sample", **options)
    for _ in range(2):
        assert equal(arrays(training), arrays(by_tensorflow[0]))
        training.on_epoch_end()
        assert equal(arrays(validation), arrays(by_tensorflow[1]))
        validation.on_epoch_end()
    assert len(training) == 3 and len(validation) == len(by_tensorflow[1])


class Scale(keras.layers.Layer):
    """The least that can be trained."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, images):
        return images * self.scale


@pytest.mark.parametrize("kind", ["tf.data", "PyDataset"])
def test_fit_takes_an_epoch_for_an_epoch(kind, request):
    if kind == "PyDataset":
        request.getfixturevalue("without_tensorflow")
    training, validation = load("sample", **SMALL, degradation="noise:25")
    steps = []
    model = keras.Sequential([Scale()])
    model.compile("sgd", "mse")
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    history = model.fit(training, epochs=2, validation_data=validation, callbacks=[count], verbose=0)
    assert steps == [0, 1, 2, 0, 1, 2]
    assert len(history.history["val_loss"]) == 2
    assert history.history["loss"][0] == pytest.approx((25 / 255) ** 2, rel=0.1)


@pytest.mark.parametrize("part", [0, 1])
def test_the_text_of_a_degradation_acts(part):
    batches = arrays(load("sample", **SMALL, degradation="noise:25")[part])
    noise = np.concatenate([degraded - clean for degraded, clean in batches])
    assert 255 * noise.std() == pytest.approx(25, rel=0.02) and abs(255 * noise.mean()) < 1
    by_object = arrays(load("sample", **SMALL, degradation=GaussianNoise(25))[part])
    assert equal(batches, by_object)


class Marked(Degradation):
    """Red goes: a degradation of one's own."""

    def apply(self, image, rng):
        return image * np.float32([0, 1, 1])


def test_a_degradation_of_ones_own():
    for batches in load("sample", **SMALL, degradation=Marked()):
        degraded, clean = arrays(batches)[0]
        assert not degraded[..., 0].any() and np.array_equal(degraded[..., 1:], clean[..., 1:])


def test_quarter_turns():
    column = np.zeros((16, 16, 3), "uint8")
    column[:, 0] = 255
    training, _ = load(([column], [column]), SHAPE, batch_size=40, steps_per_epoch=1, quarter_turns=True)
    ((_, clean),) = arrays(training)
    edges = {edge for crop in clean[..., 0] for edge in range(4) if np.rot90(crop, edge)[:, 0].all()}
    assert edges == {0, 1, 2, 3}


def test_bad_files_are_skipped_and_named(paths, caplog):
    (paths[0].parent / "bad.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        training, _ = load(paths[0].parent, SHAPE, batch_size=30, steps_per_epoch=2)
        assert [len(clean) for _, clean in arrays(training)] == [30, 30]
    (record,) = caplog.records
    assert record.getMessage().startswith("bad.png is left out: cannot identify image")
    training, _ = load(paths[0].parent, SHAPE, batch_size=30, steps_per_epoch=2, on_bad="error")
    with pytest.raises(Exception, match=r"Cannot read the image bad\.png"):
        arrays(training)


def test_a_list_of_paths_is_split_by_names_and_a_pair_as_it_is(paths):
    folder = [arrays(part) for part in load(paths[0].parent, **SMALL)]
    for listed in (paths, [*map(str, paths)], iter(paths)):
        assert all(equal(arrays(part), same) for part, same in zip(load(listed, **SMALL), folder))
    training, validation = load((paths[:1], [paths[7]]), **SMALL)
    photos = [np.asarray(Image.open(path), "float32") / 255 for path in (paths[0], paths[7])]
    np.testing.assert_array_equal(arrays(validation)[0][1], photos[1][None, :16, :16])
    pixels = {tuple(pixel) for pixel in photos[0].reshape(-1, 3)}
    assert all(tuple(pixel) in pixels for _, clean in arrays(training) for pixel in clean.reshape(-1, 3))


def test_arrays():
    images = np.random.default_rng(0).random((6, 20, 20, 1))
    training, validation = load((images[:5], images[5:]), (20, 20, 1), batch_size=2, steps_per_epoch=2)
    np.testing.assert_array_equal(arrays(validation)[0][1], images[5:].astype("float32"))
    assert {crop.shape for _, clean in arrays(training) for crop in clean} == {(20, 20, 1)}


def test_spread_takes_both_kinds(without_tensorflow):
    _, validation = load("sample", **SMALL)
    degraded, clean = spread(validation, 5)
    assert degraded.shape == clean.shape == (5, *SHAPE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_shape": (64, 64)},
            r"`image_shape` must be \(height, width, channels\).*Received: image_shape=\(64, 64",
        ),
        ({"image_shape": (64, 64, 2)}, r"channels one of \[1, 3, 4\]. Received: image_shape=\(64, 64, 2\)"),
        ({"image_shape": (None, 64, 3)}, r"Received: image_shape=\(None, 64, 3\)"),
        ({"image_shape": 64}, "Received: image_shape=64"),
        ({"batch_size": 0}, "`batch_size` must be an integer from 1. Received: batch_size=0"),
        ({"steps_per_epoch": 2.5}, "Received: steps_per_epoch=2.5"),
        ({"seed": -1}, "`seed` must be an integer from 0. Received: seed=-1"),
        ({"degradation": "fog:3"}, "Received: degradation='fog:3'"),
        ({"data": (["a.png"], ["b.png"]), "on_bad": "ignore"}, "`on_bad` must be one of"),
        ({"image_shape": (16, 24, 3), "quarter_turns": True}, "`quarter_turns` needs square crops"),
        ({"data": "nowhere"}, "Received: data='nowhere'"),
        ({"data": []}, r"pair \(train, validation\).*Received: 0$"),
        ({"val_data": []}, "`data` and `val_data` must have photos. Received: an empty list"),
        ({"data": [], "val_data": "sample"}, "`data` and `val_data` must have photos. Received: an empty list"),
        ({"data": (["a.png"], [])}, "must have images for training and for validation. Received: 1 and 0"),
        ({"data": np.zeros((5, 16, 16, 3))}, r"pair \(train, validation\).*Received: 5 of type ndarray"),
        ({"data": [np.zeros((5, 16, 16, 3))] * 3}, "Received: 3 of type ndarray"),
    ],
)
def test_mistakes_are_named(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(**{"data": "sample", **SMALL, "on_bad": "error", **changes})
