"""Speed of training steps: images per second of keras_recon beside the same networks in other libraries.

Every contestant is a process of its own, whose steps on one batch in memory are timed in turns with the others', so
that whatever else the machine does falls on all. Beside it stands the speed of the network's matrix products as a share
of that of the machine's fastest matrix product.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from training_contestants import TASKS, counted_flops

from keras_recon.utils.environment import environment
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import results_table

OWN = tuple(
    f"keras_recon/{engine}" for engine in ("tensorflow", "tensorflow_xla", "tensorflow_xla_bare", "jax", "torch")
)
TORCH = ("torch/eager", "torch/compile")


def contestants(task: str) -> tuple[str, ...]:
    """What takes part by default."""
    hub = ("keras_hub/tensorflow_xla", "keras_hub/jax") if task == "vit-tiny-64" else ()
    return OWN + TORCH + hub + (("transformers/eager",) if task.startswith("mae") else ())


def begin(task: str, contestant: str, dtype: str, batch: int) -> subprocess.Popen:
    engine = contestant.split("/")[1].split("_")[0]
    backend = engine if engine in ("tensorflow", "jax") else "torch"
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("training_contestants.py"), task, contestant, dtype, str(batch)],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def seconds(process: subprocess.Popen, steps: int) -> float | None:
    """Of so many steps; None where it has failed. Between its turns a contestant is stopped: idle threads may spin."""
    try:
        process.send_signal(signal.SIGCONT)
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    except (OSError, ValueError):
        return None
    finally:
        process.send_signal(signal.SIGSTOP)


def matrix_peak(dtype: str, side: int = 4096, rounds: int = 5) -> float:
    """Floating-point operations per second of the fastest of some products of square matrices, by PyTorch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = side if device == "cpu" else 4 * side
    a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def measure(task: str, names: list[str], dtype: str, batch: int, rounds: int, steps: int) -> dict:
    """A row for each contestant; the warm-up, which compiles, is one turn of its own."""
    processes, compiling = {}, {}
    for name in names:
        processes[name] = begin(task, name, dtype, batch)
        compiling[name] = seconds(processes[name], 2)
    times = {name: [] for name in names if compiling[name] is not None}
    for _ in range(rounds):
        for name, turn in times.items():
            turn.append(seconds(processes[name], steps) / steps)
    for process in processes.values():
        process.kill()
        process.wait()
    flops, peak = counted_flops(task), matrix_peak(dtype)
    reference = np.median(times["torch/eager"]) if "torch/eager" in times else np.nan
    rows = {}
    for name in names:
        if name not in times:
            rows[name] = {"failed": 1}
            continue
        step = float(np.median(times[name]))
        rows[name] = {
            "images per second": batch / step,
            "of torch/eager": float(reference / step),
            "slowest to fastest turn": max(times[name]) / min(times[name]),
            "seconds to the second step": compiling[name],
            "share of matrix peak": flops * batch / step / peak,
        }
    return {"rows": rows, "GFLOP an image": flops / 1e9, "matrix peak, GFLOP/s": peak / 1e9}


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["vit-tiny-64", "autoencoder-64", "mae-tiny-64"], choices=TASKS)
    parser.add_argument("--contestants", nargs="+", help="library/engine (default: all that the task has)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="turns, whose median counts (default: 5)")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn (default: 4)")
    parser.add_argument("--output", default="training_speed.json")
    args = parser.parse_args(argv)
    results = {}
    for task in args.tasks:
        for dtype in args.dtypes:
            names = args.contestants or list(contestants(task))
            result = measure(task, names, dtype, args.batch_size, args.rounds, args.steps)
            results[f"{task}, {dtype}"] = result
            print(f"\n{task}, {dtype}, {result['GFLOP an image']:.3g} GFLOP an image and step")
            print(results_table(result["rows"]), flush=True)
            protocol = {**vars(args), "order": "contestants took turns; medians of turns", **environment()}
            write_json(args.output, {"results": results, "protocol": protocol})


if __name__ == "__main__":
    main()
