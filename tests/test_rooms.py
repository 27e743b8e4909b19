"""A room of the package imports only from rooms before it, so that nothing goes in a circle."""

import ast
from pathlib import Path

import pytest

import keras_recon

ORDER = ["version", "utils", "images", "degradations", "data", "ops", "layers", "features", "metrics", "losses"]
ORDER += [
    "optimizers",
    "presets",
    "models",
    "expected_weights",
    "saving",
    "compression",
    "inference",
    "evaluation",
    "anomaly",
    "callbacks",
    "export",
]
ORDER += ["training", "doctor"]
PACKAGE = Path(keras_recon.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def imported(path):
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_recon":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_recon."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("keras_recon."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_to_rooms_before(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    later = [name for name in imported(path) if ORDER.index(name) > ORDER.index(room)]
    assert not later
