"""Reconstruct whole photos of any size with a trained model, and measure PSNR and SSIM if there are references.

INPUT is a file, a folder (searched recursively), a glob in quotes, or - for stdin. The output folder mirrors the input
folders. It also contains results.jsonl, with a line for each photo, and, if there are references, summary.json: the
mean PSNR and SSIM with everything that they depend on.
"""

import argparse
import functools
import os
import sys
import time
from pathlib import Path

from app.parser import Parser, check_model_path, fail, printable
from app.photo_jobs import WRITABLE, Job, plan
from app.photo_results import report
from app.quiet import quiet_start

# Arguments that are passed to `keras_recon.inference.PhotoProtocol`.
PROTOCOL = ("seed", "overlap", "batch_size", "strength", "quantize", "color_space", "border")
LEAST = {"tile_size": 1, "overlap": 0, "batch_size": 1, "seed": 0, "border": 0, "max_megapixels": 1}


def parser_of(description: str) -> argparse.ArgumentParser:
    """Return the parser, which `reconstruct_cluster.py` extends."""
    parser = Parser(description)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="photos")
    add("--model", type=Path, required=True, help="a preset such as denoise, a .keras file, or the folder of a run")
    add("--output", default="reconstructed", help="folder, file, or - for stdout (default: %(default)s)")
    add("--suffix", default="", help="appended to the names of the written photos, as in --suffix=-restored")
    add(
        "--format",
        choices=[suffix[1:] for suffix in WRITABLE],
        help="format of the written photos (default: the input's)",
    )
    text = "from 0 to 1: the share of the model's output; the rest is the photo (default: %(default)s)"
    add("--strength", type=float, default=1.0, help=text)
    text = "limit, above which a photo is an error (default: %(default)s)"
    add("--max-megapixels", type=int, default=250, metavar="NUMBER", help=text)
    add("--error-maps", action="store_true", help="also write NAME-error.png: the absolute error times 5")
    add = parser.add_argument_group("tiles").add_argument
    add("--tile-size", type=int, help="side of a tile in pixels, for fully convolutional models (default: the model's)")
    add("--overlap", type=int, help="pixels that neighbouring tiles share (default: a sixth of the tile)")
    add("--batch-size", type=int, default=64, help="tiles per call of the model (default: %(default)s)")
    group = parser.add_argument_group("measuring")
    references = group.add_mutually_exclusive_group()
    references.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="folder of the originals, with the names of the photos"
    )
    references.add_argument("--degradation", metavar="TEXT", help="degrade the photos first, for example by noise:25")
    add = group.add_argument
    add("--seed", type=int, default=0, help="of the degradation, together with the photo's name (default: %(default)s)")
    text = "measure the model's floats instead of the written pixels, which are rounded to the bits of the photo"
    add("--no-quantize", dest="quantize", action="store_false", help=text)
    add("--color-space", choices=("rgb", "y"), default="rgb", help="y is the luma of BT.601 (default: %(default)s)")
    add("--border", type=int, default=0, help="pixels at each side that are not measured (default: %(default)s)")
    return parser


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> tuple[argparse.Namespace, list[Job]]:
    """Return the arguments, and the photos that they name."""
    args = parser.parse_args(argv)
    for name, least in LEAST.items():
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}. Received: {getattr(args, name)}")
    check_model_path("--model", args.model)
    if args.reference and not os.path.isdir(args.reference):
        parser.error(f"--reference must be a folder. Received: {args.reference}")
    if args.error_maps and not (args.reference or args.degradation):
        parser.error("--error-maps needs --reference or --degradation")
    try:
        return args, plan(args.inputs, args.output, args.suffix, args.format, args.reference, args.error_maps)
    except ValueError as error:
        parser.error(str(error))


def main(argv: list[str] | None = None):
    args, jobs = parse(parser_of(__doc__), argv)
    model, protocol = load(args)
    titles = (f"{number}/{len(jobs)} {job.name}" for number, job in enumerate(jobs, start=1))
    outcomes = (attempt(job, model, protocol, args, title) for job, title in zip(jobs, titles))
    try:
        report(args, jobs, protocol.fingerprint(model), outcomes)
    except OSError as error:
        fail(f"--output cannot be written: {error}")


def attempt(job: Job, model, protocol, args: argparse.Namespace, title: str) -> dict:
    """Return the line of a photo's results; its `error` if it failed."""
    try:
        return reconstruct(job, model, protocol, args, title)
    except (ValueError, OSError) as error:
        return {"path": job.name, "error": str(error)}
    except Exception as error:  # of a decoder or a backend, such as out of memory; the other photos are still processed
        return {"path": job.name, "error": f"{type(error).__name__}: {error}"}


def load(args):
    """Return the model and the protocol; end the process if an argument does not fit the model."""
    with quiet_start():  # loading some models imports keras-hub
        try:
            return _load(args)
        except (ValueError, OSError) as error:
            flaw = error
    fail(flaw)


def _load(args):
    from keras_recon import degradations, load_model  # from here on imports take seconds
    from keras_recon.inference import PhotoProtocol, check_model, check_strength, tile_overlaps

    model = load_model(args.model)
    if args.tile_size:
        try:
            model = model.for_image_shape((args.tile_size, args.tile_size, model.image_shape[2]))
        except ValueError as error:
            raise ValueError(f"--tile-size does not fit the model: {error}") from error
    check_model(model)  # here, and not for every photo
    check_strength(model, args.strength)
    tile_overlaps(model.image_shape[:2], args.overlap)
    options = {name: getattr(args, name) for name in PROTOCOL}
    protocol = PhotoProtocol(degradations.get(args.degradation), **options)
    protocol.check(model)
    return model, protocol


def reconstruct(job: Job, model, protocol, args: argparse.Namespace, title: str) -> dict:
    """Read, reconstruct, write and measure a photo. Return its line of the results."""
    from keras_recon import images
    from keras_recon.inference import error_levels, in_bits_of

    start = time.perf_counter()
    image = images.read_image(job.source or sys.stdin.buffer.read(), args.max_megapixels)
    height, width, channels = image.pixels.shape
    size = {"height": height, "width": width, "channels": channels, "bits": 8 * image.pixels.itemsize}
    progress = functools.partial(show, printable(title)) if sys.stderr.isatty() else None
    pixels = image.of_channels(model.image_shape[2])
    output = protocol.output(model, pixels, job.name, progress)
    reference = pixels if protocol.degradation else None  # otherwise its memory is freed below
    image.replace_pixels(in_bits_of(pixels, output))
    del pixels
    if job.target:
        images.write_image(job.target, image)
    else:
        sys.stdout.buffer.write(images.encode_image(image, args.format and images.FORMATS[f".{args.format}"]))
    seconds = round(time.perf_counter() - start, 3)
    if job.reference:
        reference = images.read_image(job.reference, args.max_megapixels).of_channels(model.image_shape[2])
    scores = {} if reference is None else protocol.scores(reference, output)
    if job.error_map:
        images.write_error_map(job.error_map, error_levels(reference, output))
    return {"path": job.name, **size, "seconds": seconds, **scores}


def show(title: str, done: int, total: int):
    """Overwrite the line of progress on a terminal."""
    print(f"\r\x1b[K{title}: {done}/{total} tiles", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
