"""The examples in docstrings: whatever is public has one, and all of them run."""

import ast
import doctest
import importlib
import inspect
import io
import pkgutil
import re

import keras
import numpy as np
import pytest
from anomaly.made_dataset import make_dataset
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

import keras_recon

ROOMS = (
    "keras_recon",
    *(f"keras_recon.{name}" for name in ("models", "layers", "ops", "losses", "metrics", "optimizers", "callbacks")),
    *(
        f"keras_recon.{name}"
        for name in ("degradations", "images", "features", "anomaly", "utils.run", "inference", "data")
    ),
    "keras_recon.data.batches",
)
NEED_TENSORFLOW = (  # can be imported without it, but not used
    "keras_recon.callbacks.tensorboard.RunSummary",
    *(f"keras_recon.data.batches.{name}" for name in ("training_batches", "shard_of", "decode_window")),
)


class ShapesAsTuples(doctest.OutputChecker):
    """Takes the shapes of TensorFlow and PyTorch for the tuples that they are in NumPy and JAX."""

    def check_output(self, want, got, optionflags):
        got = re.sub(
            r"(?:TensorShape|torch\.Size)\(\[(.*?)\]\)", lambda shape: str(ast.literal_eval(f"{shape[1]},")), got
        )
        return super().check_output(want, got, optionflags)


def public(room):
    """The classes of a module, and the functions that it lists in `__all__`, by name."""
    module = importlib.import_module(room)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == room]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    kinds = (inspect.isclass, inspect.isfunction) if hasattr(module, "__all__") else (inspect.isclass,)
    return {name: getattr(module, name) for name in names if any(kind(getattr(module, name)) for kind in kinds)}


def examples():
    """The examples of all modules that can be imported."""
    for info in pkgutil.walk_packages(keras_recon.__path__, "keras_recon.", onerror=lambda name: None):
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if not error.name.startswith("tensorflow"):
                raise
        else:
            yield from (test for test in doctest.DocTestFinder().find(module, info.name) if test.examples)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_example(room):
    found = public(room)
    assert found
    assert [name for name, value in found.items() if ">>> " not in (value.__doc__ or "")] == []


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_examples_run(test, tmp_path, monkeypatch):
    if test.name in NEED_TENSORFLOW:
        pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    if test.name.startswith("keras_recon.anomaly."):
        make_dataset(tmp_path / "tiles")  # which its examples read
    if re.search("perceptual|frechet", test.name.lower()):
        save_as_hugging_face(tiny_backbone(), tmp_path / "deit_tiny")
    test.globs |= {"keras": keras, "keras_recon": keras_recon, "np": np, "tmp_path": tmp_path}
    output = io.StringIO()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(ShapesAsTuples(), optionflags=flags).run(test, out=output.write)
    assert not output.getvalue(), output.getvalue()
