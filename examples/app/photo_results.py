"""What came of the photos of `reconstruct.py`: its files, and the table that is printed."""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Iterable

from app.parser import printable
from app.photo_jobs import STREAM, Job

# Of more photos the table has the first and the last.
MAX_ROWS, EACH_END = 20, 5


def report(args: argparse.Namespace, jobs: list[Job], fingerprint: dict, outcomes: Iterable[dict]):
    """Write and print what came of the photos, as it comes; end with status 1 if something went wrong."""
    from keras_recon.utils.files import to_json, write_json

    results, errors, written, folder = [], [], [], jobs[0].folder
    with contextlib.ExitStack() as stack:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "summary.json").unlink(missing_ok=True)  # of an earlier run
            written = [folder / "results.jsonl"]
            # Not written beside and renamed: an end in the middle leaves the lines of the photos that are done.
            lines = stack.enter_context(open(written[0], "w"))
        for outcome in outcomes:
            if "error" in outcome:
                errors.append(f"{outcome['path']}: {outcome['error']}")
                continue
            results.append(outcome)
            if folder:
                print(to_json(outcome), file=lines, flush=True)
    summary = summarize(results, args, fingerprint)
    if folder and "psnr" in summary["results"]:
        written.append(folder / "summary.json")
        write_json(written[-1], summary)
    if results:
        count = f"{len(results)} photo" + "s" * (len(results) > 1)
        to, where = (sys.stderr, "stdout") if args.output == STREAM else (sys.stdout, args.output)
        done = f"{count} in {summary['results']['seconds']:.1f} seconds, to {where}"
        print("", table(results), "", *map(printable, (done, *written)), sep="\n", file=to, flush=True)
    for error in errors:
        print(f"error: {printable(error)}", file=sys.stderr)
    sys.exit(1 if errors else 0)


def table(results: list[dict]) -> str:
    """A row a photo and the means, as text."""
    from keras_recon.utils.tables import results_table

    columns = ("seconds", "psnr", "ssim")
    results = sorted(results, key=lambda result: result["path"])  # workers are ready in any order
    rows = {
        printable(result["path"]): {"pixels": f"{result['width']}x{result['height']}"}
        | {name: result[name] for name in columns if name in result}
        for result in results
    }
    if len(rows) > MAX_ROWS:
        pairs = [*rows.items()]
        rows = dict([*pairs[:EACH_END], ("...", {}), *pairs[-EACH_END:]])
    if len(results) > 1:
        rows["mean"] = _means(results, columns)
    text = results_table(rows)
    if any("psnr" in result and "ssim" not in result for result in results):
        text += "\nSSIM is of photos of at least 11x11 pixels only."
    return text


def summarize(results: list[dict], args: argparse.Namespace, fingerprint: dict) -> dict:
    """The means over photos, and what they are of."""
    total = {"photos": len(results), "seconds": round(sum(result["seconds"] for result in results), 3)}
    reference = "the photos before the degradation" if args.degradation else args.reference and str(args.reference)
    of = {"model": str(args.model), "photos": args.inputs, "reference": reference}
    return {"results": total | _means(results, ("psnr", "ssim")), "protocol": {**of, **fingerprint}}


def _means(results, names):
    values = {name: [result[name] for result in results if name in result] for name in names}
    return {name: statistics.fmean(of_name) for name, of_name in values.items() if of_name}
