import json

import keras
import pytest
import training_speed
from training_contestants import CONTESTANTS
from training_tasks import TASKS

# What has to be found in the process behind a label: the library of its layers, the framework, whether it is compiled,
# what it computes in every step. Both dtypes come to every way of training.
SCORED = ["loss", "psnr", "ssim"]
RAN = {
    "keras_recon/tensorflow": ("keras_recon", "tensorflow", False, SCORED, "bfloat16"),
    "keras_recon/tensorflow_xla": ("keras_recon", "tensorflow", True, SCORED, "float32"),
    "keras_recon/tensorflow_xla_bare": ("keras_recon", "tensorflow", True, ["loss"], "float32"),
    "keras_recon/jax": ("keras_recon", "jax", True, SCORED, "bfloat16"),
    "keras_recon/jax_bare": ("keras_recon", "jax", True, ["loss"], "float32"),
    "keras_recon/torch": ("keras_recon", "torch", False, SCORED, "float32"),
    "torch/eager": ("torch_peers", "torch", False, ["loss"], "bfloat16"),
    "torch/compile": ("torch_peers", "torch", True, ["loss"], "float32"),
    "keras_hub/tensorflow_xla": ("keras_hub", "tensorflow", True, SCORED, "float32"),
    "keras_hub/jax": ("keras_hub", "jax", True, SCORED, "bfloat16"),
    "transformers/eager": ("transformers", "torch", False, ["loss"], "float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("label", CONTESTANTS)
def test_a_label_runs_what_it_names(label):
    contestant = CONTESTANTS[label]
    for module in (contestant.backend, *contestant.needs):
        pytest.importorskip(module)
    library, framework, compiled, logs, dtype = RAN[label]
    task = next(name for name in ("vit-micro-16", "mae-micro-16") if name in contestant.tasks)
    with training_speed.Process(task, label, dtype, 2) as process:
        assert process.turn(2)["seconds"] > 0
        ran = process.turn(1)["ran"]
    others = {"keras_recon", "keras_hub", "torch_peers", "transformers"} - {library}
    if library == "keras_hub":
        others -= {"keras_recon"}  # its decoder
    assert library in ran["layers of"] and not others & set(ran["layers of"])
    version = __import__("jaxlib" if framework == "jax" else framework).__version__
    assert ran["framework"] == f"{'jaxlib' if framework == 'jax' else framework} {version}"
    assert ran.get("keras") == (f"{keras.version()}, {framework}" if library.startswith("keras") else None)
    assert (ran["compiled"], ran["logs"], ran["dtype"]) == (compiled, logs, dtype)


def test_a_task_is_what_it_names():
    for name, task in TASKS.items():
        system = {"ViTTask": "mae" if task.mask_ratio else "vit", "AutoencoderTask": "autoencoder"}
        assert name == f"{system[type(task).__name__]}-{task.variant}-{task.side}"
    for name in ("vit-micro-16", "mae-micro-16", "autoencoder-micro-16"):
        task, model = TASKS[name], TASKS[name].keras_model()
        assert model.image_shape == (16, 16, 3) and model.is_masked == (task.mask_ratio > 0)
        sizes = model.variants[task.variant]
        assert {size: getattr(model, size) for size in sizes} == sizes


def test_why_a_contestant_failed_is_told():
    why = pytest.raises(RuntimeError, match=r"transformers/eager has the tasks .* \(status 2\)")
    with training_speed.Process("vit-micro-16", "transformers/eager", "float32", 2) as process, why:
        process.turn(1)


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, capsys):
    pytest.importorskip("torch")
    output, own = tmp_path / "speed.json", f"keras_recon/{keras.backend.backend()}"
    what = ["--tasks", "vit-micro-16", "--dtypes", "float32", "--contestants", "torch/eager", own]
    training_speed.main([*what, "--batch-size", "2", "--rounds", "1", "--steps", "1", "--output", str(output)])
    result = json.loads(output.read_text())["results"]["vit-micro-16, float32"]
    rows = result["rows"]
    assert list(rows) == list(result["ran"]) == ["torch/eager", own] and not result["failed"]
    assert rows["torch/eager"]["of torch/eager"] == 1 and all(row["images per second"] > 0 for row in rows.values())
    assert "matrix" in capsys.readouterr().out
