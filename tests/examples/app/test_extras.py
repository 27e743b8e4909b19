import subprocess
import sys
from pathlib import Path

import export
import pytest

from keras_recon.export import formats

SCRIPT = Path(__file__).with_name("script_without.py")
EXAMPLES = Path(export.__file__).parent
# Of each of them an import takes seconds.
HEAVY = ("keras", "keras_recon", "tensorflow", "numpy", "PIL")


def run(missing, script, *arguments):
    """Status, stdout and stderr of a script that can import neither what is missing nor anything heavy."""
    names = ",".join((*HEAVY, *missing))
    command = [sys.executable, SCRIPT, names, EXAMPLES / f"{script}.py", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", ["reconstruct", "reconstruct_cluster", "demo", "detect_anomalies", "export"])
def test_help_and_mistakes_are_answered_before_anything_heavy(script):
    status, text, errors = run((), script, "--help")
    assert (status, errors) == (0, "") and text.startswith("usage: ")
    status, text, errors = run((), script, "--nonsense")
    assert (status, text) == (2, "") and errors.startswith("error: ") and len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "package, extra, script, arguments",
    [
        ("gradio", "demo", "demo", ["--saved-models", "{run}"]),
        ("ray", "cluster", "reconstruct_cluster", ["{run}/photo.png", "--model", "{run}", "--output", "{run}/out"]),
        ("tf2onnx", "export", "export", ["{run}", "--format", "savedmodel", "onnx"]),
        ("onnxruntime", "export", "export", ["{run}", "--format", "onnx"]),
        ("ai_edge_litert", "export", "export", ["{run}", "--format", "litert"]),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, package, extra, script, arguments):
    (tmp_path / "photo.png").touch()
    status, text, errors = run([package], script, *(argument.format(run=tmp_path) for argument in arguments))
    assert (status, text, len(errors.splitlines())) == (2, "", 1)
    assert package in errors and f'must be installed first: pip install -e ".[{extra}]"' in errors


def test_the_formats_are_those_of_the_package():
    assert {name: format.packages for name, format in formats.FORMATS.items()} == export.FORMATS
