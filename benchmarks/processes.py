"""Processes of a benchmark's own: what one imports, allocates or breaks is none of the others'."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environ(backend: str | None = None) -> dict[str, str]:
    """The environment of a process under a KERAS_BACKEND, or this one's, that can import keras_recon and benchmarks."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    chosen = {"KERAS_BACKEND": backend} if backend else {}
    chosen["JAX_TRACEBACK_FILTERING"] = "off"  # otherwise an error's last line is a note about that
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **chosen}


def answer(module: str, function: str, arguments: tuple, backend: str | None = None) -> dict:
    """What a function prints as its last line, in JSON, in a process; a RuntimeError says why there is nothing."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}(*{arguments!r})"],
        env=environ(backend),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(last_words(done.stderr, done.returncode))
    return json.loads(done.stdout.splitlines()[-1])


def last_words(errors: str, status: int) -> str:
    """Why a process has ended, from what it wrote to stderr and its status."""
    return f"{(errors.splitlines() or ['it said nothing'])[-1]} (status {status})"
