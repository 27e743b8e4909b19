"""Decoders of a user's own, in the systems that take one."""

import keras
import numpy as np
import pytest
from composition_contracts import check_composition, check_freezing, check_lora, check_quantization
from contracts import check_model, outputs_of, random_images
from keras import ops
from models.test_vit import TINY
from models.tiny_backbones import tiny

import keras_recon
from keras_recon.models import ViTReconstructor


@keras.saving.register_keras_serializable("test_decoders")
class Painter(keras.layers.Layer):
    """A user's decoder, registered: of patches of 4 pixels."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 48), name="kernel")

    def call(self, latents):
        return ops.depth_to_space(latents @ self.kernel, 4)

    def compute_output_shape(self, input_shape):
        return (*[side and 4 * side for side in input_shape[:3]], 3)


def keras_layers():
    """The same of Keras's own layers."""
    return keras.Sequential([keras.layers.UpSampling2D(4), keras.layers.Conv2D(3, 3, padding="same")])


SYSTEMS = {
    "vit": lambda decoder: ViTReconstructor(**TINY, decoder=decoder),
    "masked": lambda decoder: ViTReconstructor(**TINY, mask_ratio=0.5, normalize_target=True, decoder=decoder),
    "pretrained": lambda decoder: tiny(decoder=decoder),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_is_saved_loaded_and_cloned(system, tmp_path):
    images = random_images(2, 16, 16, 3)
    for decoder in (keras_layers(), Painter()):
        model = SYSTEMS[system](decoder)
        assert model.decoder is decoder
        outputs = outputs_of(model, images)
        model.save(tmp_path / "model.keras")
        for copy in (keras.saving.load_model(tmp_path / "model.keras"), model.clone()):
            assert type(copy.decoder) is type(decoder) and copy.decoder is not decoder
            np.testing.assert_allclose(outputs_of(copy, images), outputs, atol=1e-6)
    assert isinstance(keras_recon.load_model(tmp_path / "model.keras").decoder, Painter)  # registered in this process


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_must_make_images_and_fit_in_a_file(system):
    with pytest.raises(ValueError, match=r"other than Lambda.*Received: decoder of type Lambda"):
        SYSTEMS[system](keras.layers.Lambda(lambda x: x))
    with pytest.raises(
        ValueError, match=r"must make images \(16, 16, 3\)\. Received: a decoder that makes \(8, 8, 5\)"
    ):
        SYSTEMS[system](keras.layers.UpSampling2D(2))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["vit", "pretrained"])
def test_contract(system, tmp_path, monkeypatch):
    model = SYSTEMS[system](Painter())
    check_model(type(model), model.get_config(), tmp_path)
    check_composition(model, tmp_path)
    check_quantization(model, tmp_path, monkeypatch)
    check_lora(model.clone(), tmp_path)
    check_freezing(model, tmp_path)
