import numpy as np
import pytest
from contracts import random_images
from keras import ops
from models.test_vit import TINY

from keras_recon import data, degradations, models, reconstruct

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


@pytest.mark.parametrize("text", [None, "noise:25"])
def test_pictures_are_what_the_systems_make_of_the_input(text):
    from keras_recon.training.finish import _pictures

    degradation = degradations.get(text)
    photos = data.Photos(range(3), list(random_images(3, 20, 30, 3)).__getitem__)
    model = models.ViTReconstructor(**TINY)
    pca = models.LinearReconstructor(model.image_shape, 4, 5)
    pca.adapt(random_images(20, 16, 16, 3))
    degraded, clean = data.spread(data.validation_batches(photos, (16, 16, 3), 2, degradation=degradation), 2)
    whole, crops = _pictures(model, pca, photos, degraded, clean, degradation)
    for pictures in (whole, crops):
        assert list(pictures) == ["original", *(["degraded"] if text else []), "PCA", "reconstruction"]
    np.testing.assert_array_equal(whole["original"], photos[1][None])
    np.testing.assert_array_equal(crops["original"], clean)
    np.testing.assert_array_equal(crops.get("degraded", clean), degraded)
    for title, system in (("PCA", pca), ("reconstruction", model)):
        seen = whole.get("degraded", whole["original"])
        np.testing.assert_allclose(whole[title], reconstruct(system, seen[0])[None], atol=1e-6)
        np.testing.assert_allclose(crops[title], ops.convert_to_numpy(system(degraded, training=False)), atol=1e-6)
    if degradation:
        assert np.abs(whole["degraded"] - whole["original"]).mean() > 0.05
