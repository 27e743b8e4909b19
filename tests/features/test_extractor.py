import numpy as np
import pytest
from contracts import outputs_of, random_images
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

from keras_recon.features import BackboneFeatures, FeatureExtractor


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "dinov3", "siglip", "clip"])
def test_each_depth_has_unit_length(family):
    backbone = tiny_backbone(family)
    images = random_images(2, 16, 16, 3)
    features = outputs_of(FeatureExtractor(backbone, (1, 3)), images)
    assert features.shape == (2, 4, 4, 16)
    tokens = outputs_of(BackboneFeatures(backbone, (1,)), (images - 0.5) / 0.5)[0]
    np.testing.assert_allclose(features[..., :8], tokens / np.linalg.norm(tokens, axis=-1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(features[..., 8:], axis=-1), 1, atol=1e-4)


def test_it_is_a_layer_as_others():
    images = random_images(2, 16, 16, 3)
    extractor = FeatureExtractor(tiny_backbone(), (0, 2), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    copy = FeatureExtractor.from_config(extractor.get_config())
    copy.set_weights(extractor.get_weights())
    np.testing.assert_allclose(outputs_of(copy, images), outputs_of(extractor, images), atol=1e-6)
    assert not any(weight.trainable for weight in (*extractor.weights, *copy.weights))
    assert not extractor.trainable_weights and (copy.mean, copy.std) == (extractor.mean, extractor.std)
    assert tuple(extractor.compute_output_shape((None, 16, 16, 3))) == (None, 4, 4, 16)


def test_a_preset_is_fitted_to_side_and_channels(tmp_path):
    folder = str(save_as_hugging_face(tiny_backbone(), tmp_path / "hugging_face"))
    extractor = FeatureExtractor.from_preset(folder, side=26, channels=1)
    assert extractor.image_shape == (24, 24, 1) and extractor.depths == (1, 2)
    gray = random_images(2, 24, 24, 1)
    # A gray image causes what it causes as RGB, but for the mean and std, of which gray has one.
    rgb = FeatureExtractor.from_preset(folder, side=24)
    rgb.mean, rgb.std = (np.mean(rgb.mean),) * 3, (np.mean(rgb.std),) * 3
    np.testing.assert_allclose(outputs_of(extractor, gray), outputs_of(rgb, gray.repeat(3, axis=-1)), atol=1e-4)
    assert FeatureExtractor.from_preset(folder).image_shape == (16, 16, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depths": (1, 4)}, "`depths` must be some of 0 to 3"),
        ({"depths": ()}, r"depths=\(\)"),
        ({"depths": (1,), "mean": (0.5,)}, "one value for each of 3 channels"),
        ({"depths": (1,), "std": (0.5, 0.5, 0.0)}, "`std` above 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(tiny_backbone(), **arguments)
