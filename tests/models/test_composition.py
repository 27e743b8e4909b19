"""What Keras users build of a model: every model of `keras_recon.models` passes the same contracts."""

import inspect
import shutil

import keras
import pytest
from composition_contracts import (
    check_composition,
    check_export,
    check_freezing,
    check_inputs,
    check_lora,
    check_quantization,
)
from contracts import random_images
from models.test_restoration import TINY as TINY_UNET
from models.test_vit import TINY
from models.tiny_backbones import tiny_backbone

from keras_recon import models

CONV = {"image_shape": (16, 16, 3), "filters": (6, 8), "latent_dim": 5}
BUILDERS = {
    "ViTReconstructor": lambda: models.ViTReconstructor(**TINY),
    "masked": lambda: models.ViTReconstructor(**TINY, mask_ratio=0.5, seed=0),
    "ConvAutoencoder": lambda: models.ConvAutoencoder(**CONV),
    "PretrainedViTReconstructor": lambda: models.PretrainedViTReconstructor(tiny_backbone(), latent_dim=5),
    "LinearReconstructor": lambda: models.LinearReconstructor((16, 16, 3), 4, 5),
    "RestorationUNet": lambda: models.RestorationUNet(**TINY_UNET),
}


def build(name):
    model = BUILDERS[name]()
    if model.linear_path:
        model.adapt(random_images(20, *model.image_shape))
    return model


def test_no_model_is_forgotten():
    classes = {name for name, value in vars(models).items() if inspect.isclass(value)}
    assert classes - {"ImageModel", "Reconstructor", "MaskedReconstructor"} <= {*BUILDERS}


@pytest.mark.parametrize("name", BUILDERS)
def test_it_nests_saves_and_loads(name, tmp_path):
    check_composition(build(name), tmp_path)


@pytest.mark.parametrize("name", BUILDERS)
def test_it_says_what_images_it_wants(name):
    check_inputs(build(name))


@pytest.mark.parametrize("name", ["ViTReconstructor", "ConvAutoencoder", "PretrainedViTReconstructor"])
def test_it_is_quantised_saved_and_loaded(name, tmp_path, monkeypatch):
    check_quantization(build(name), tmp_path, monkeypatch)


@pytest.mark.parametrize("name", sorted({*BUILDERS} - {"LinearReconstructor"}))
def test_it_is_frozen_in_parts(name, tmp_path):
    check_freezing(build(name), tmp_path)


@pytest.mark.parametrize("name", sorted({*BUILDERS} - {"LinearReconstructor"}))
def test_it_takes_low_rank_updates(name, tmp_path):
    check_lora(build(name), tmp_path)


@pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "litert"])
@pytest.mark.parametrize("name", BUILDERS)
def test_a_bare_export_answers_or_says_where_it_would(name, format, tmp_path):
    check_export(build(name), format, tmp_path)


def test_one_model_nested_twice_is_one_model(tmp_path):
    """Shared weights stay shared, and what is trained in one place is trained in the other."""
    model = build("ViTReconstructor")
    inputs = keras.Input(model.image_shape)
    twice = keras.Model(inputs, model(model(inputs)))
    assert len(twice.weights) == len(model.weights)
    twice.save(tmp_path / "twice.keras")
    assert len(keras.saving.load_model(tmp_path / "twice.keras").weights) == len(model.weights)


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("name", BUILDERS)
def test_it_is_drawn(name, tmp_path):
    pytest.importorskip("pydot", reason="draws with Graphviz")
    model = build(name)
    image = keras.Input(model.image_shape)
    for drawn in (model, keras.Model(image, model(image))):
        keras.utils.plot_model(drawn, tmp_path / "model.png", show_shapes=True, expand_nested=True)
        assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
