"""Model files that would take minutes, gigabytes or nonsense: each is refused in one sentence, at once."""

import io
import json
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from models.tiny_backbones import tiny_backbone

import keras_recon
from keras_recon import models

WEIGHTS = "model.weights.h5"


def refuse(path, members, message):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as error:
        keras_recon.load_model(path)
    assert time.perf_counter() - start < 5 and "\n" not in str(error.value) and str(path) in str(error.value)


def nested(weights):
    for _ in range(800):
        weights = weights.create_group("group")


def many(weights):
    for i in range(20_000):
        weights.create_group(f"group_{i}")


def circle(weights):
    weights["itself"] = weights["/"]


@pytest.mark.parametrize("change", [nested, many, circle])
def test_groups_without_end(tmp_path, members, change):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        change(weights)
    refuse(tmp_path / "model.keras", {**members, WEIGHTS: file.getvalue()}, "at most 10,000, nested at most 32 deep")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_layers": 60_000}, r"asks for a weight of the shape \(16, 48\), which the file does not hold"),
        ({"decoder_num_layers": 60_000}, r"asks for a weight of the shape \(8, 24\), which"),
        ({"hidden_dim": 65_536}, r"asks for a weight of the shape \(48, 65536\), which"),
        ({"mlp_dim": 65_536}, r"asks for a weight of the shape \(16, 65536\), which"),
        ({"image_shape": [65_536, 65_536, 3]}, r"asks for a weight of the shape \(16384, 16384, 16\), which"),
        ({"image_shape": [65_536, 65_536, 3], "position_embedding": "sincos"}, "must have at most 67,108,864 values"),
        ({"refiner_filters": 65_536}, r"asks for a weight of the shape \(3, 3, 65536, 65536\), which"),
        ({"lora_rank": 65_536}, r"asks for a weight of the shape \(16, 65536\), which"),
    ],
)
def test_configurations_of_more_than_the_file_holds(tmp_path, members, change, message):
    config = json.loads(members["config.json"])
    config["config"].update(change)
    refuse(tmp_path / "model.keras", {**members, "config.json": json.dumps(config)}, message)


def test_a_decoder_of_more_than_the_file_holds(tmp_path, members):
    config = json.loads(members["config.json"])
    sizes = {"num_layers": 60_000, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 4, "channels": 3}
    layer = {"module": "keras_recon.layers.decoders", "class_name": "TransformerDecoder", "config": sizes}
    config["config"]["decoder"] = {**layer, "registered_name": "keras_recon>TransformerDecoder"}
    refuse(tmp_path / "model.keras", {**members, "config.json": json.dumps(config)}, "which the file does not hold")


def test_a_layer_of_ours_where_none_belongs(tmp_path, members):
    config = json.loads(members["config.json"])
    layer = {"module": "keras_recon.layers", "class_name": "PatchDiscriminator", "config": {}}
    config["config"]["decoder"] = {**layer, "registered_name": "keras_recon>PatchDiscriminator"}
    refuse(tmp_path / "model.keras", {**members, "config.json": json.dumps(config)}, "not loaded from files at this")


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "dinov3", "clip", "siglip"])
def test_backbones_of_more_than_the_file_holds(tmp_path, family):
    model = models.PretrainedViTReconstructor(tiny_backbone(family), latent_dim=5, decoder="linear")
    model.save(tmp_path / "good.keras")
    assert keras_recon.load_model(tmp_path / "good.keras").latent_dim == 5
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    widths = "mlp_dim" if family == "vit" else "intermediate_dim"
    for name, value in (("num_layers", 60_000), ("hidden_dim", 65_536), (widths, 65_536)):
        config = json.loads(members["config.json"])
        config["config"]["backbone"]["config"][name] = value
        changed = {**members, "config.json": json.dumps(config)}
        refuse(tmp_path / f"{name}.keras", changed, "asks for a weight of the shape .* which the file does not hold")


def test_a_class_that_is_not_there_is_to_be_imported_or_trusted(tmp_path, members):
    config = json.loads(members["config.json"])
    config["registered_name"] = "lab>OurModel"
    data = {**members, "config.json": json.dumps(config)}
    refuse(tmp_path / "model.keras", data, "no class lab>OurModel: import the module that registers it first, or pass")


def test_a_trusted_file_of_another_backbone(tmp_path):
    from keras_hub.models import ViTBackbone

    @keras.saving.register_keras_serializable("keras_hub")
    class LabBackbone(ViTBackbone):
        """Of a name that is not in the list."""

    sizes = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
    backbone = LabBackbone(image_shape=(16, 16, 3), **sizes)
    models.PretrainedViTReconstructor(backbone, latent_dim=5, decoder="linear").save(tmp_path / "lab.keras")
    with pytest.raises(ValueError, match=r"foreign class .*LabBackbone"):
        keras_recon.load_model(tmp_path / "lab.keras")
    assert type(keras_recon.load_model(tmp_path / "lab.keras", trusted=True).backbone) is LabBackbone


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_finite_numbers(tmp_path, members, value):
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if getattr(item, "shape", ()) else None)
        weights[names[-1]][..., 0] = value
    refuse(
        tmp_path / "model.keras", {**members, WEIGHTS: file.getvalue()}, "its weight .* has values that are no finite"
    )
