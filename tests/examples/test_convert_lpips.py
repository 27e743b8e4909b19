"""What is wrong with its arguments; that the weights it writes are right stands in `features/test_lpips`."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
SCRIPT = Path(__file__).parents[2] / "examples" / "convert_lpips.py"
STATE = "import sys, torch; torch.save({'features.0.weight': torch.zeros(64, 3, 11, 11)}, sys.argv[1])"


def refusal(*arguments):
    """In a process of its own: beside TensorFlow, PyTorch can crash."""
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


class Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def test_mistakes_are_named(tmp_path):
    weights, output = tmp_path / "weights.pth", tmp_path / "out.npz"
    assert "--output must end in .safetensors or .npz" in refusal(weights, "--output", "out.pth")
    weights.write_bytes(pickle.dumps(Code()))
    assert "WEIGHTS must be PyTorch's file of a state dict" in refusal(weights, "--output", output)
    subprocess.run([sys.executable, "-c", STATE, weights], check=True)
    assert "must have the weight features.0.bias of shape (64,). Received: none" in refusal(weights, "--output", output)
    assert not output.exists()
