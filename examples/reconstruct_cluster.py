"""Reconstruct a large collection of photos on a Ray cluster, or on the cores of this machine.

As reconstruct.py, whose options it takes, with a model in each of several workers (Ray Data). A worker that dies is
started again and its photos are done again; a photo is written under its name when it is complete, so none is lost and
none is there twice. All machines must see the same folders.
"""

import dataclasses
import json
import logging
from pathlib import Path

import reconstruct
from app.extras import require
from app.parser import fail
from app.photo_jobs import STREAM, Job
from app.photo_results import report
from app.quiet import quiet_start

# Under the names of a job's fields, so that the plan travels as rows of text.
PATHS = ("source", "target", "folder", "error_map", "reference")


class Worker:
    """A process with a model of its own."""

    def __init__(self, args):
        self.model, self.protocol = reconstruct.load(args)
        self.args = args

    def __call__(self, row: dict) -> dict:
        job = Job(**{name: value and Path(value) if name in PATHS else value for name, value in row.items()})
        return {"outcome": json.dumps(reconstruct.attempt(job, self.model, self.protocol, self.args, job.name))}


def main(argv: list[str] | None = None):
    parser = reconstruct.parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--cpus", type=float, default=1, help="of each worker (default: %(default)s)")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker (default: %(default)s)")
    parser.add_argument("--address", help="of a Ray cluster, as auto or ray://host:port (default: this machine)")
    args, jobs = reconstruct.parse(parser, argv)
    if args.workers < 1:
        parser.error(f"--workers must be at least 1. Received: workers={args.workers}")
    if STREAM in (args.output, *args.inputs):
        parser.error("INPUT and --output must be files and folders; reconstruct.py takes -")
    require("cluster", "ray")
    model, protocol = reconstruct.load(args)
    fingerprint = protocol.fingerprint(model)

    with quiet_start():
        import ray.data

        from keras_recon.utils.files import remove_temporaries

    ray.init(args.address, log_to_driver=False, logging_level=logging.WARNING)
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # its bars show the progress
    rows = [
        {name: str(value) if name in PATHS and value else value for name, value in dataclasses.asdict(job).items()}
        for job in jobs
    ]
    outcomes = ray.data.from_items(rows, override_num_blocks=max(args.workers, len(rows) // 16)).map(
        Worker,
        fn_constructor_args=(args,),
        num_cpus=args.cpus,
        num_gpus=args.gpus,
        compute=ray.data.ActorPoolStrategy(size=args.workers),
    )
    try:
        report(args, jobs, fingerprint, (json.loads(row["outcome"]) for row in outcomes.iter_rows()))
    except OSError as error:
        fail(f"--output cannot be written: {error}")
    finally:
        ray.shutdown()
        if jobs[0].folder:  # workers that were killed leave what they were writing
            written = {path for job in jobs for path in (job.target, job.error_map) if path}
            remove_temporaries(jobs[0].folder, of=written)


if __name__ == "__main__":
    main()
