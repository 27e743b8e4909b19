"""What a benchmark does not know it refuses, with status 2 and one sentence, before it measures anything."""

import re
import tomllib
from pathlib import Path

import arguments
import inference_speed
import pytest
import training_contestants
import training_speed

pytest.importorskip("tensorflow", reason="keras_recon.data needs TensorFlow")
import denoising
import gpu
import growth
import inpainting
import input_speed
import masked_encoding

HERE = str(Path(__file__).parent)  # a folder without photos and runs
REFUSED = [
    (training_speed, ["--contestants", "keras/tensorflow"], "'keras_recon/tensorflow'"),
    (training_speed, ["--tasks", "vit-huge-64"], "'vit-tiny-64'"),
    (training_speed, ["--dtypes", "float16"], "'bfloat16'"),
    (training_speed, ["--rounds", "0"], "at least 1. Received: 0"),
    (
        training_speed,
        ["--tasks", "mae-tiny-64", "vit-tiny-64", "--contestants", "transformers/eager"],
        "transformers/eager has the tasks mae-tiny-64, mae-base-224, mae-micro-16. Received: --tasks vit-tiny-64",
    ),
    (training_contestants, ["vit-tiny-64", "keras/tensorflow", "float32", "2"], "'keras_recon/tensorflow'"),
    (training_contestants, ["vit-tiny-64", "transformers/eager", "float32", "2"], "has the tasks mae-tiny-64"),
    (input_speed, ["--loaders", "dali"], "'Grain and Pillow'"),
    (input_speed, ["--seconds", "0"], "--seconds must be above 0. Received: 0.0"),
    (inference_speed, [HERE, "--formats", "TensorRT"], "'ONNX Runtime'"),
    (inference_speed, [HERE, "--batches", "-1"], "at least 1. Received: -1"),
    (inference_speed, [HERE], "RUN must be a finished run's folder"),
    (denoising, [HERE, "--methods", "dncnn"], "'bm3d'"),
    (denoising, [HERE, "--methods", "--model", "none.keras"], "Received: path='none.keras'"),
    (denoising, [HERE, "--methods"], "Found no image"),
    (denoising, [HERE, "--methods", "--sigma", "-1"], "`sigma` must be"),
    (inpainting, ["sample", "--model", "none.keras"], "Received: none.keras"),
    (masked_encoding, ["--variant", "huge"], "'micro'"),
    (masked_encoding, ["--patch-size", "7"], "`patch_size` must divide"),
    (gpu, ["--parts", "vae"], "'autoencoder-64'"),
    (gpu, ["--contestants", "keras_recon/tensorflow"], "'keras_recon/jax'"),
    (growth, ["--growing", "vit, width"], "'vit, image side'"),
]


@pytest.mark.parametrize("benchmark, argv, sentence", REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_unknown_or_impossible_is_refused(benchmark, argv, sentence, capsys):
    if "transformers/eager" in argv and arguments.missing(["transformers", "torch"]):
        pytest.skip("transformers or torch is not installed, which is refused first")
    with pytest.raises(SystemExit) as refusal:
        benchmark.main(argv)
    printed = capsys.readouterr().err
    assert refusal.value.code == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1 and sentence in printed


def test_what_is_not_installed_is_refused_if_chosen_and_else_left_out(capsys, monkeypatch):
    monkeypatch.setitem(arguments.EXTRAS, "no_such_module", "benchmark")
    parser, needs = arguments.Parser("A benchmark."), {"here": ["json"], "missing": ["json", "no_such_module"]}
    assert parser.installed(["here"], needs) == parser.installed(["here", "here"], needs) == ["here"]
    assert parser.installed([], needs) == [] and not capsys.readouterr().out
    sentence = 'no_such_module is not installed, pip install -e ".[benchmark]"'
    assert parser.installed(None, needs) == ["here"]
    assert capsys.readouterr().out == f"missing has no row: {sentence}\n"
    with pytest.raises(SystemExit) as refusal:
        parser.installed(["missing"], needs)
    assert refusal.value.code == 2 and capsys.readouterr().err == f"error: missing: {sentence}\n"


def test_every_module_that_a_row_needs_comes_with_what_is_named():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = {"": project["dependencies"], **project["optional-dependencies"]}
    distributions = {"pywt": "PyWavelets", "skimage": "scikit-image"}  # of another name than their module
    tables = (training_contestants.CONTESTANTS, input_speed.LOADERS, inference_speed.FORMATS, denoising.METHODS)
    needed = {module for table in tables for row in table.values() for module in row.needs}
    needed |= {row.backend for row in training_contestants.CONTESTANTS.values()}
    for module in needed | arguments.EXTRAS.keys():
        names = [re.match(r"[\w-]+", line)[0] for line in required[arguments.EXTRAS.get(module, "")]]
        assert distributions.get(module, module).replace("_", "-") in names, module
