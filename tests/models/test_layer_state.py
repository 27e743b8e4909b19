"""Layers by path, and the frozen order in which version 0.1.0 counted them.

`golden/layer_order.json` has that order for each model below, as version 0.1.0 computed it from a private method of
Keras; null stands for input layers. PyTorch counted the layers of some backbones in another order.
"""

import json
from pathlib import Path

import keras
import pytest
from compression.tiny_codecs import tiny_codec
from models.test_vit import TINY
from models.tiny_backbones import tiny, tiny_backbone

from keras_recon import models
from keras_recon.anomaly import AnomalyDetector
from keras_recon.features import FeatureExtractor
from keras_recon.models.layer_state import freeze, frozen_paths, layers_by_path, old_paths

ORDER = json.loads((Path(__file__).parents[1] / "golden" / "layer_order.json").read_text())
ViT, CNN = models.ViTReconstructor, models.ConvAutoencoder
KL = {"filters": (4, 6, 8), "latent_dim": 5, "kl_weight": 0.1, "num_blocks": 2, "upsampling": "resize"}


def with_lora(model):
    model.enable_lora(2)
    return model


BUILDERS = {
    "vit": lambda: ViT(**TINY),
    "masked": lambda: ViT(**TINY, mask_ratio=0.5),
    "vit with a convolutional decoder": lambda: ViT(**TINY, decoder="conv"),
    "vit with a linear decoder": lambda: ViT(**TINY, decoder="linear", linear_path=False),
    "vit with a user's decoder": lambda: ViT(**TINY, decoder=keras.Sequential([keras.layers.Conv2DTranspose(3, 4, 4)])),
    "vit with LoRA": lambda: with_lora(ViT(**TINY)),
    "autoencoder": lambda: CNN((16, 16, 3), filters=(4, 6), latent_dim=5),
    "variational autoencoder": lambda: CNN((16, 16, 3), **KL),
    "restoration": lambda: models.RestorationUNet((16, 16, 3), filters=(4, 6), num_blocks=2),
    "linear": lambda: models.LinearReconstructor((16, 16, 3), 4, 5),
    "pretrained vit": lambda: tiny("vit", stem_filters=(4, 4), strategy="lora:2"),
    **{
        f"pretrained {family}": lambda family=family: tiny(family)
        for family in ("deit", "dinov2", "dinov3", "siglip", "clip")
    },
    "codec": tiny_codec,
    **{
        f"detector {method}": lambda method=method: AnomalyDetector(FeatureExtractor(tiny_backbone(), (2, 3)), method)
        for method in ("ensemble", "classifier", "nearest", "gaussian")
    },
}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_old_order_of_layers_does_not_change(name):
    backend = keras.backend.backend()
    assert old_paths(BUILDERS[name]()) == ORDER.get(backend, {}).get(name, ORDER["tensorflow"][name])


def test_positions_of_an_old_file_freeze_the_same_layers():
    model = ViT(**TINY)
    order = ORDER["tensorflow"]["vit"]
    positions = [i for i, path in enumerate(order) if path and path.startswith("encoder/blocks/0")]
    freeze(model, positions)
    assert frozen_paths(model) == [path for path in layers_by_path(model) if path.startswith("encoder/blocks/0")]
    with pytest.raises(ValueError, match=r"must be below \d+\. Received: \[100000\]"):
        freeze(model, [100000])


def test_paths_of_no_layers_are_named():
    with pytest.raises(ValueError, match=r"A ViTReconstructor has no layers \['encoder/blocks/9'\]"):
        freeze(ViT(**TINY), ["encoder/blocks/9"])
