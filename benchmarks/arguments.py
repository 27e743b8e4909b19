"""What the benchmarks' command lines share: what is unknown or missing is refused in one sentence, with status 2."""

import argparse
from collections.abc import Iterable
from importlib.util import find_spec

EXTRAS = {  # of keras_recon, by the module that they bring
    "jax": "jax",
    "torch": "torch",
    "onnxruntime": "export",
    "tf2onnx": "export",
    "ai_edge_litert": "export",
    "transformers": "test",
    "bm3d": "benchmark",
    "grain": "benchmark",
    "pywt": "benchmark",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str):
        self.exit(2, f"error: {message}\n")

    def installed(self, names: list[str] | None, needs: dict[str, Iterable[str]]) -> list[str]:
        """The names whose modules are installed; one that the user chose and that cannot run is an error.

        Args:
            names: what the user chose; None for all.
            needs: the modules of every name.
        """
        runs = []
        for name in needs if names is None else dict.fromkeys(names):
            why = missing(needs[name])
            if why and names is not None:
                self.error(f"{name}: {why}")
            if why:
                print(f"{name} has no row: {why}")
            else:
                runs.append(name)
        return runs


def missing(modules: Iterable[str]) -> str | None:
    """What to do about the first of the modules that is not installed, if any."""
    for module in modules:
        if find_spec(module) is None:
            extra = f'".[{EXTRAS[module]}]"' if module in EXTRAS else "."
            return f"{module} is not installed, pip install -e {extra}"
    return None


def positive(text: str) -> int:
    """The value of an argument that is at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return value
