"""What a training step costs and what the machine can do, for `training_speed.py`.

`python training_costs.py TASK DTYPE` prints both in JSON. It is a process of its own, without TensorFlow: PyTorch's
counter imports triton where that is installed, and LLVM in both ends a process that has both.
"""

import json
import os
import subprocess
import sys
import time

from arguments import Parser
from training_tasks import TASKS

DTYPES = ("float32", "bfloat16")


def costs(task: str, dtype: str) -> dict[str, float]:
    """`flops` of a task's training step for one image, and `peak`, those that the machine does in a second."""
    output = subprocess.run(
        [sys.executable, __file__, task, dtype],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(output.stdout.splitlines()[-1])


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


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("dtype", choices=DTYPES)
    args = parser.parse_args(argv)
    print(json.dumps({"flops": TASKS[args.task].flops(), "peak": matrix_peak(args.dtype)}))


if __name__ == "__main__":
    main()
