import json

import numpy as np
import pytest
from anomaly.tiny_detectors import tiny_detector
from contracts import random_images

from keras_recon import export_model, load_model
from keras_recon.anomaly import METHODS, AnomalyDetector
from keras_recon.models.image_model import can_export

TILES = random_images(2, 16, 16, 3)
slow = [pytest.param(method, marks=pytest.mark.slow) for method in METHODS if method != "ensemble"]


@pytest.mark.parametrize("method", ["ensemble", *slow])
def test_a_saved_model_detects_in_photos_as_the_detector_does(method, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="SavedModels are loaded by TensorFlow")
    detector = tiny_detector(method)
    detector.fit_good([*random_images(12, 40, 30, 3)])
    if not can_export("tf_saved_model"):
        with pytest.raises(RuntimeError, match="cannot be exported"):
            export_model(detector, tmp_path, ["savedmodel"], TILES)
        return
    certificate = export_model(detector, tmp_path, ["savedmodel"], TILES)
    assert certificate["files"]["savedmodel"]["max absolute difference"] < 1e-4
    loaded = tf.saved_model.load(str(tmp_path / "savedmodel"))
    expected = detector(TILES)
    answered = loaded.serve(TILES)
    for name in ("map", "score"):
        np.testing.assert_allclose(answered[name], np.asarray(expected[name]), atol=1e-4)
    for shape in ((16, 16, 3), (33, 71, 3), (20, 9, 3)):
        photo = (255 * random_images(1, *shape)[0]).astype("uint8")
        found, answered = detector.detect(photo), loaded.signatures["detect_uint8"](images=tf.constant(photo[None]))
        np.testing.assert_allclose(answered["map"][0], found.map, atol=0.02)
        assert float(answered["score"][0]) == pytest.approx(found.score, abs=0.02)


def test_a_keras_file_has_a_certificate(tmp_path):
    detector = tiny_detector("nearest")
    detector.fit_good([*random_images(12, 40, 30, 3)])
    export_model(detector, tmp_path, ["keras"], TILES)
    assert json.loads((tmp_path / "parity.json").read_text())["files"]["keras"]["max absolute difference"] < 1e-5
    assert load_model(tmp_path, AnomalyDetector).threshold == detector.threshold
    with pytest.raises(ValueError, match=r"\['keras', 'savedmodel'\] for a AnomalyDetector\. Received: 'onnx'"):
        export_model(detector, tmp_path, ["onnx"], TILES)
