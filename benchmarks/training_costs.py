"""What a training step costs and what the machine can do, for `training_speed.py`."""

import json
import time

from processes import answer
from training_tasks import TASKS

DTYPES = ("float32", "bfloat16")


def costs(task: str, dtype: str) -> dict[str, float]:
    """`flops` of a task's training step for one image, and `peak`, those that the machine does in a second.

    Both are found in a process without TensorFlow: PyTorch's counter imports triton where that is installed, and LLVM
    in both ends a process that has both.
    """
    return answer("training_costs", "tell", (task, dtype), "torch")


def tell(task: str, dtype: str):
    """Print what `costs` returns."""
    print(json.dumps({"flops": TASKS[task].flops(), "peak": matrix_peak(dtype)}))


def matrix_peak(dtype: str, rounds: int = 5) -> float:
    """Floating-point operations per second of the fastest of some products of square matrices, by PyTorch."""
    import torch

    device, side = ("cuda", 16384) if torch.cuda.is_available() else ("cpu", 4096)
    a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best
