import keras
import numpy as np
import pytest
from anomaly.made_dataset import make_dataset
from anomaly.tiny_detectors import tiny_detector, tiny_extractor
from contracts import random_images
from keras import ops

import keras_recon
from keras_recon import anomaly
from keras_recon.anomaly import METHODS, AnomalyDetector


def good_photos(count=20, shape=(24, 20, 3)):
    return [*random_images(count, *shape)]


EACH_METHOD = pytest.mark.parametrize("method", METHODS)


@EACH_METHOD
def test_a_saved_detector_answers_as_before(method, tmp_path):
    detector = tiny_detector(method)
    photos = good_photos()
    detector.fit_good(photos)
    found = detector.detect(photos[3])
    assert found.map.shape == (24, 20) and found.score == pytest.approx(found.map.max(), rel=0.1)
    detector.save(tmp_path / "detector.keras")
    loaded = keras_recon.load_model(tmp_path / "detector.keras", AnomalyDetector)
    again = loaded.detect(photos[3])
    np.testing.assert_allclose(again.map, found.map, atol=1e-4)
    assert loaded.threshold == detector.threshold
    assert keras.saving.load_model(tmp_path / "detector.keras", safe_mode=True).get_config() == loaded.get_config()


@EACH_METHOD
def test_what_good_photos_do_not_show_is_found(method, tmp_path):
    folder = make_dataset(tmp_path, size=48)
    rng = np.random.default_rng(1)
    photos = [(100 + rng.integers(0, 4, (48, 48, 1))).astype("uint8").repeat(3, axis=-1) for _ in range(40)]
    detector = tiny_detector(method)
    detector.fit_good(photos)
    results = detector.score(folder)
    assert results["image AUROC"] == 1.0 and results["pixel AUROC"] > 0.9
    assert results["F1"] > 0.7
    defect = detector.detect(folder / "test" / "hole" / "0.png")
    assert defect.is_anomalous
    row, column = np.unravel_index(defect.map.argmax(), defect.map.shape)
    assert 2 <= row < 20 and 2 <= column < 20  # the square from 8 to 14, or a patch around it


def test_photos_of_any_size_are_tiles_of_the_models_size():
    detector = tiny_detector()
    detector.fit_good(good_photos())
    for shape in ((16, 16), (7, 9), (16, 100), (61, 32)):
        assert detector.detect(np.full((*shape, 3), 0.5, "float32")).map.shape == shape
    tile = random_images(1, 16, 16, 3)
    answered = detector(tile)
    np.testing.assert_allclose(ops.convert_to_numpy(answered["map"])[0], detector.detect(tile[0]).map, atol=1e-5)
    assert float(answered["score"][0]) == pytest.approx(detector.detect(tile[0]).score, rel=1e-5)
    assert [found.map.shape for found in detector.detect([tile[0], tile[0][:9]])] == [(16, 16), (9, 16)]


def test_the_threshold_leaves_the_asked_share_of_held_out_photos_above():
    detector, held_out = tiny_detector(), good_photos(19)
    detector.fit_good(good_photos(30), held_out=held_out, false_alarms=0.25)
    # Rank 15 of 19: with a further photo, 5 of 20 are above it.
    assert sum(detector.detect(photo).is_anomalous for photo in held_out) <= 5
    lenient = detector.threshold
    detector.fit_good(good_photos(30), held_out=held_out, false_alarms=0.0)
    assert detector.threshold > lenient


def test_features_are_cached_for_the_same_photos_and_backbone(tmp_path):
    photos, detector = good_photos(6), tiny_detector()
    detector.fit_good(photos, cache=tmp_path)
    files = sorted(tmp_path.iterdir())
    threshold = detector.threshold
    assert len(files) == 1
    detector.fit_good(photos, cache=tmp_path)
    assert sorted(tmp_path.iterdir()) == files and detector.threshold == threshold
    detector.fit_good([photo / 2 for photo in photos], cache=tmp_path)
    assert len([*tmp_path.iterdir()]) == 2


def test_maps_are_the_mean_of_two_grids_of_patches():
    detector = tiny_detector()  # 4x4 patches of 4 pixels
    detector.fit_good(good_photos())
    tile = random_images(1, 16, 16, 3)

    def of_patches(image):
        distances = detector.method(detector.extractor(image)) / detector.threshold
        size = detector.image_shape[:2]
        maps = ops.image.resize(distances[..., None], size, data_format="channels_last")
        return ops.convert_to_numpy(maps)[0, ..., 0]

    moved = of_patches(np.pad(tile, ((0, 0), (0, 2), (0, 2), (0, 0)), "reflect")[:, 2:, 2:])
    expected = (of_patches(tile) + np.pad(moved, ((2, 0), (2, 0)), "edge")[:-2, :-2]) / 2
    np.testing.assert_allclose(ops.convert_to_numpy(detector(tile)["map"])[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tiny_detector("best"), "`method` must be one of"),
        (lambda: AnomalyDetector(tiny_extractor(image_shape=(16, 24, 3))), "must be for square images"),
        (lambda: tiny_detector().fit_good(good_photos(3), held_out=1.0), "`held_out` must leave photos"),
        (lambda: tiny_detector().fit_good(good_photos(3), held_out=1), "held_out=1 of 3 photos"),
        (lambda: tiny_detector().detect(np.full((9, 9, 3), 200.0)), "divide by 255"),
        (lambda: tiny_detector().detect(np.ones((9, 9, 3), "int64")), "uint8, uint16 or float in .* and int64"),
        (lambda: tiny_detector().fit_good(good_photos(), false_alarms=1.0), "false_alarms=1.0"),
        (lambda: tiny_detector().fit_good(good_photos(4, (16, 16, 1))), r"must be \(height, width, 3\)"),
        (lambda: tiny_detector().detect(np.ones((9, 9), "float32")), r"a photo of shape \(9, 9\) and float32"),
        (lambda: tiny_detector().detect([np.ones((9, 9), "uint8")]), r"a photo of shape \(9, 9\) and uint8"),
        (lambda: tiny_detector().fit_good([np.ones((24, 20), "float32")] * 4), r"a photo of shape \(24, 20\)"),
        (lambda: anomaly.NearestPatch(patches=0), "patches=0"),
        (lambda: anomaly.DefectClassifier(steps=0), "steps=0"),
        (lambda: anomaly.Ensemble([]), r"methods=\[\]"),
        (lambda: anomaly.Ensemble(weights=[1]), r"one for each of 3 methods. Received: weights=\[1\]"),
        (lambda: anomaly.PositionGaussian(features=0), "features=0"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("removed", ["PCAResidual", "FeatureDecoder"])
def test_a_file_with_a_removed_method_raises_one_sentence(removed):
    config = tiny_detector().get_config()
    config["method"] |= {"class_name": removed, "registered_name": f"keras_recon>{removed}"}
    with pytest.raises(ValueError, match=f"fit a new detector. Received: {removed}"):
        AnomalyDetector.from_config(config)


def test_a_quantised_detector_is_saved(tmp_path):
    detector, photo = tiny_detector("classifier"), good_photos(1)[0]
    before = detector.detect(photo).map
    detector.quantize("int8")
    quantised = detector.detect(photo).map
    assert 0 < np.abs(quantised - before).max() < 0.2 * np.abs(before).max()
    detector.save(tmp_path / "detector.keras")
    loaded = keras_recon.load_model(tmp_path / "detector.keras", AnomalyDetector)
    np.testing.assert_allclose(loaded.detect(photo).map, quantised, atol=0.05 * np.abs(before).max())
