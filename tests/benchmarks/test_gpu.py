import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from arguments import missing

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
BLOCK = (
    'import sys\n\nfor name in ("tensorflow", "tensorboard", "tensorflow_datasets"):\n    sys.modules[name] = None\n'
)


def smoke(tmp_path, *parts):
    """What the script writes, in an interpreter that cannot import TensorFlow."""
    if why := missing(["jax", "torch"]):
        pytest.skip(why)
    (tmp_path / "sitecustomize.py").write_text(BLOCK)  # Python imports it at its start
    paths = os.pathsep.join([str(tmp_path), str(SCRIPT.parents[1])])
    command = [sys.executable, SCRIPT, "--smoke", "--parts", *parts, "--output", tmp_path / "gpu.json"]
    environ = {**os.environ, "PYTHONPATH": paths, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / "gpu.json").read_text())["results"], done.stdout


@pytest.mark.slow
def test_trainings_beside_pytorch_without_tensorflow(tmp_path):
    results, printed = smoke(tmp_path, "mae", "autoencoder-64")
    for part, task in (("mae", "mae-micro-16"), ("autoencoder-64", "autoencoder-micro-16")):
        result = results[part]
        assert result["task"] == task and list(result["rows"]) == ["keras_recon/jax", "torch/compile"]
        assert all(row["images per second"] > 0 < row["share of matrix peak"] for row in result["rows"].values())
        ran = result["ran"]
        assert {name: facts["framework"].split()[0] for name, facts in ran.items()} == {
            "keras_recon/jax": "jaxlib",
            "torch/compile": "torch",
        }
        assert all(facts["compiled"] and facts["dtype"] == "bfloat16" for facts in ran.values())
    assert "torch/compile" in printed


@pytest.mark.slow
def test_inference_of_each_system_without_tensorflow(tmp_path):
    if why := missing(["keras_hub"]):
        pytest.skip(why)
    results, printed = smoke(tmp_path, "inference")
    classes = {"vit": "ViTReconstructor", "autoencoder": "ConvAutoencoder", "pretrained": "PretrainedViTReconstructor"}
    ran = results["inference"]["ran"]
    assert {system: facts["model"] for system, facts in ran.items()} == classes
    for facts in ran.values():
        assert (facts["framework"].split()[0], facts["dtype"], facts["image shape"]) == (
            "jaxlib",
            "bfloat16",
            [16, 16, 3],
        )
    for row in results["inference"]["rows"].values():
        assert min(row.values()) > 0 and {"ms at 1", "images per second at 64", "ms at 64, NumPy"} <= row.keys()
    assert "pretrained" in printed
