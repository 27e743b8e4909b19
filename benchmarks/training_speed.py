"""Speed of training steps: images per second of keras_recon beside the same networks in other libraries.

Every contestant is a process of its own, whose steps on one batch in memory are timed in turns with the others', so
that whatever else the machine does falls on all. Beside it stands the speed of the network's matrix products as a share
of that of the machine's fastest matrix product.
"""

import json
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
from arguments import Parser, missing, positive
from processes import HERE, environ, last_words
from training_contestants import CONTESTANTS
from training_costs import DTYPES, costs
from training_tasks import TASKS

WARM_UP = 2  # steps, of which the first compiles


class Process:
    """A contestant at work, stopped between its turns: threads that wait may spin and slow the one that is timed."""

    def __init__(self, task: str, contestant: str, dtype: str, batch: int):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, HERE / "training_contestants.py", task, contestant, dtype, str(batch)],
            env={**environ(CONTESTANTS[contestant].backend), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def turn(self, steps: int) -> dict:
        """`seconds` of so many steps, and what `ran`; a RuntimeError says why it has failed."""
        try:
            self._process.send_signal(signal.SIGCONT)
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline())
            self._process.send_signal(signal.SIGSTOP)
            return reply
        except (OSError, ValueError):
            status = self._end()
            self._errors.seek(0)
            raise RuntimeError(last_words(self._errors.read(), status)) from None

    def _end(self) -> int:
        self._process.kill()
        return self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end()
        self._errors.close()


def measure(task: str, names: list[str], dtype: str, batch: int, rounds: int, steps: int) -> dict:
    """The figures of each contestant (`rows`), what it `ran`, or why it `failed`; a first turn is its warm-up."""
    turns, failed = {name: [] for name in names}, {}
    with ExitStack() as stack:
        processes = {}
        for turn in range(rounds + 1):
            for name in [name for name in names if name not in failed]:
                try:
                    if not turn:
                        processes[name] = stack.enter_context(Process(task, name, dtype, batch))
                    turns[name].append(processes[name].turn(steps if turn else WARM_UP))
                except RuntimeError as error:
                    failed[name] = str(error)
    cost = costs(task, dtype)
    seconds = {
        name: [turn["seconds"] / steps for turn in replies[1:]] for name, replies in turns.items() if name not in failed
    }
    rows = {}
    for name, times in seconds.items():
        step = float(np.median(times))
        rows[name] = {
            "images per second": batch / step,
            **({"of torch/eager": float(np.median(seconds["torch/eager"])) / step} if "torch/eager" in seconds else {}),
            "slowest to fastest turn": max(times) / min(times),
            "seconds to the second step": turns[name][0]["seconds"],
            "share of matrix peak": cost["flops"] * batch / step / cost["peak"],
        }
    ran = {name: turns[name][-1]["ran"] for name in rows}
    figures = {"GFLOP an image": cost["flops"] / 1e9, "matrix peak, GFLOP/s": cost["peak"] / 1e9}
    return {"rows": rows, "ran": ran, "failed": failed, **figures}


def contestants(parser: Parser, tasks: list[str], chosen: list[str] | None) -> dict[str, list[str]]:
    """Those of each task: the chosen ones, or by default all that are installed."""
    names = parser.installed(chosen, {name: (row.backend, *row.needs) for name, row in CONTESTANTS.items()})
    for name in chosen or ():
        for task in tasks:
            if task not in CONTESTANTS[name].tasks:
                parser.error(f"{name} has the tasks {', '.join(CONTESTANTS[name].tasks)}. Received: --tasks {task}")
    return {task: [name for name in names if task in CONTESTANTS[name].tasks] for task in tasks}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--tasks", nargs="+", default=["vit-tiny-64", "autoencoder-micro-64", "mae-tiny-64"], choices=TASKS
    )
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, help="(default: all that the task has)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=DTYPES)
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=5, help="turns, whose median counts (default: 5)")
    parser.add_argument("--steps", type=positive, default=4, help="steps in a turn (default: 4)")
    parser.add_argument("--output", default="training_speed.json")
    args = parser.parse_args(argv)
    if why := missing(["torch"]):
        parser.error(f"the machine's matrix peak is measured by PyTorch: {why}")
    names_of = contestants(parser, args.tasks, args.contestants)
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import (
        environment,  # imports take seconds
        results_table,
    )

    results = {}
    order = "contestants took turns; medians of turns"
    protocol = {**vars(args), "order": order, "machine": environment()["machine"]}
    for task, names in names_of.items():
        for dtype in args.dtypes:
            result = measure(task, names, dtype, args.batch_size, args.rounds, args.steps)
            results[f"{task}, {dtype}"] = result
            print(f"\n{task}, {dtype}, {result['GFLOP an image']:.3g} GFLOP an image and step")
            print(results_table(result["rows"]), flush=True)
            for name, why in result["failed"].items():
                print(f"{name} failed: {why}", flush=True)
            write_json(args.output, {"results": results, "protocol": protocol})
    if any(result["failed"] for result in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
