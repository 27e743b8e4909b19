import json
import shutil

import inference_speed
import keras
import numpy as np
import pytest
from arguments import missing
from contracts import random_images
from models.test_vit import TINY

from keras_recon import export_model
from keras_recon.models import ViTReconstructor
from keras_recon.utils.run import Run

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports all formats")
# What has to be found behind a label: the classes of the objects that answer, the library that must be there, and those
# that must not.
OWN = "keras_recon.models.vit.ViTReconstructor"
RAN = {
    "SavedModel": (["tensorflow.python.saved_model."], "tensorflow", {"keras_recon", "onnxruntime", "ai_edge_litert"}),
    "ONNX Runtime": (["onnxruntime."], "onnxruntime", {"keras_recon", "tensorflow", "ai_edge_litert"}),
    "LiteRT": (["ai_edge_litert.interpreter."], "ai_edge_litert", {"keras_recon", "tensorflow", "onnxruntime"}),
    ".keras, TensorFlow": ([OWN, "tensorflow."], "tensorflow", {"onnxruntime", "ai_edge_litert"}),
    ".keras, JAX": ([OWN, "jaxlib."], "jax", {"tensorflow", "onnxruntime", "ai_edge_litert"}),
    ".keras, PyTorch": ([OWN, "torch."], "torch", {"tensorflow", "onnxruntime", "ai_edge_litert"}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with a model whose linear path is fitted."""
    run = Run(tmp_path_factory.mktemp("run"))
    model = ViTReconstructor(**TINY)
    model.adapt(random_images(8, 16, 16, 3))
    model.save(run.model)
    return run, model


@pytest.mark.slow
@pytest.mark.parametrize("label", RAN)
def test_a_label_runs_what_it_names(label, run, tmp_path):
    assert RAN.keys() == inference_speed.FORMATS.keys()
    own = inference_speed.FORMATS[label]
    if why := missing(own.needs):
        pytest.skip(why)
    run, model = run
    if own.export:
        images = random_images(2, 16, 16, 3)
        export_model(model, run.export, [own.export], images)
        answer, _ = own.load(str(run.folder / own.file))
        np.testing.assert_allclose(answer(images), model.predict_on_batch(images), atol=1e-5)
    source, only = run.folder / own.file, tmp_path / own.file  # no other file is there
    only.parent.mkdir(exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, only)
    measured = inference_speed.measure(label, tmp_path, (16, 16, 3), [1, 2], 1)
    classes, present, absent = RAN[label]
    ran = measured["ran"]
    assert ran["file"] == str(only)
    assert [found.startswith(name) for found, name in zip(ran["objects"], classes, strict=True)] == [True] * len(
        classes
    )
    assert present in ran["imported"] and not absent & set(ran["imported"])
    assert all(value > 0 for value in measured["row"].values()) and "ms at 2" in measured["row"]


@pytest.mark.slow
def test_a_file_that_is_not_there_fails_with_a_reason(tmp_path):
    with pytest.raises(RuntimeError, match="does not exist"):
        inference_speed.measure("SavedModel", tmp_path, (16, 16, 3), [1], 1)


@pytest.mark.slow
def test_the_script_measures_and_writes(run, tmp_path, capsys):
    output = tmp_path / "speed.json"
    options = ["--formats", ".keras, TensorFlow", "SavedModel", "--batches", "1", "--rounds", "1"]
    inference_speed.main([str(run[0].folder), *options, "--output", str(output)])
    results = json.loads(output.read_text())["results"]
    assert list(results["formats"]) == list(results["ran"]) == [".keras, TensorFlow", "SavedModel"]
    assert results["imports"]["import keras_recon"]["seconds"] > 0 and not results["failed"]
    assert "cold" in capsys.readouterr().out
