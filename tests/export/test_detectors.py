import numpy as np
import pytest
from anomaly.tiny_detectors import tiny_detector
from contracts import random_images

from keras_recon.anomaly import METHODS
from keras_recon.export import export_detector
from keras_recon.models.image_model import can_export

slow = [pytest.param(method, marks=pytest.mark.slow) for method in METHODS if method != "ensemble"]


@pytest.mark.parametrize("method", ["ensemble", *slow])
def test_a_saved_model_detects_in_photos_as_the_detector_does(method, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="SavedModels are loaded by TensorFlow")
    detector = tiny_detector(method)
    detector.fit_good([*random_images(12, 40, 30, 3)])
    if not can_export("tf_saved_model"):
        with pytest.raises(RuntimeError, match="cannot be exported"):
            export_detector(detector, tmp_path / "detector")
        return
    export_detector(detector, tmp_path / "detector")
    loaded = tf.saved_model.load(str(tmp_path / "detector"))
    tiles = random_images(2, 16, 16, 3)
    expected = detector(tiles)
    answered = loaded.serve(tiles)
    for name in ("map", "score"):
        np.testing.assert_allclose(answered[name], np.asarray(expected[name]), atol=1e-4)
    for shape in ((16, 16, 3), (33, 71, 3), (20, 9, 3)):
        photo = (255 * random_images(1, *shape)[0]).astype("uint8")
        found, answered = detector.detect(photo), loaded.signatures["detect_uint8"](images=tf.constant(photo[None]))
        np.testing.assert_allclose(answered["map"][0], found.map, atol=0.02)
        assert float(answered["score"][0]) == pytest.approx(found.score, abs=0.02)
