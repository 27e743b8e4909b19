"""Compress photos with a trained codec, and decompress them.

    python examples/compress.py photo.png --model codec --output photo.krc
    python examples/compress.py photo.krc --model codec --decompress --output again.png

INPUT is a file, a folder (searched recursively) or a glob in quotes. --output is a file, or a folder that mirrors the
input. Photos are not overwritten, because they may be the originals. Only the codec that made a file can read it.
Metadata and colour profiles are dropped, and a message names dropped profiles. Photos with an alpha channel or 16 bits
are rejected.
"""

import os
import sys
from pathlib import Path

from app.parser import Parser, check_model_path, fail, printable
from app.photo_jobs import READABLE, STREAM, WRITABLE, plan
from app.quiet import quiet_start

COMPRESSED = (".krc",)


def main(argv: list[str] | None = None):
    args = parse(argv)
    readable, writable, format = (COMPRESSED, WRITABLE, "png") if args.decompress else (READABLE, COMPRESSED, "krc")
    try:
        if STREAM in (*args.inputs, args.output):
            raise ValueError(f"INPUT and --output must be files or folders. Received: {STREAM!r}")
        jobs = plan(args.inputs, args.output, format=format, readable=readable, writable=writable)
        there = [job.target for job in jobs if args.decompress and os.path.lexists(job.target)]
        if there:
            raise ValueError(f"the photo {there[0]} exists and may be the original: choose another --output")
        with quiet_start():
            from keras_recon import load_model
            from keras_recon.compression import ImageCodec

            codec = load_model(args.model, ImageCodec)
    except ValueError as error:
        fail(error)
    failed = 0
    for job in jobs:
        try:
            files = codec, job.source, job.target
            text = decompress(*files) if args.decompress else compress(*files, args)
            print(printable(f"{job.target}: {text}"), flush=True)
        except (ValueError, OSError, ImportError) as error:
            print(printable(f"error: {job.source}: {error}"), file=sys.stderr)
            failed += 1
    if failed:
        fail(f"{failed} of {len(jobs)} files failed")


def parse(argv):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="files, folders or globs in quotes")
    add("--model", type=Path, required=True, help="'codec', a .keras file, or the folder of a trained codec")
    add("--output", required=True, help="file or folder")
    add("--decompress", action="store_true", help="decompress files to PNG")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quality", type=float, help="0 to 100 (default: 50)")
    group.add_argument("--rate", type=float, metavar="BITS", help="best quality with at most so many bits per pixel")
    args = parser.parse_args(argv)
    check_model_path("--model", args.model)
    if args.decompress and (args.quality, args.rate) != (None, None):
        fail("--decompress takes neither --quality nor --rate: files contain their quality")
    args.quality = 50 if args.quality is None else args.quality
    if not 0 <= args.quality <= 100:
        fail(f"--quality must be from 0 to 100. Received: {args.quality:g}")
    if args.rate is not None and not args.rate > 0:
        fail(f"--rate must be above 0. Received: {args.rate:g}")
    return args


def compress(codec, source: Path, target: Path, args) -> str:
    from keras_recon.compression import compress
    from keras_recon.compression.files import MAX_QUALITY
    from keras_recon.images import read_image
    from keras_recon.utils.files import replacing

    photo = read_image(source)
    if photo.alpha is not None or photo.pixels.dtype != "uint8":
        raise ValueError("it must have 8 bits and no alpha channel to be compressed")
    pixels = photo.pixels[..., 0].size
    data = compress(codec, photo.pixels, args.quality / 100) if args.rate is None else None
    low, high = 0, MAX_QUALITY + 1  # the best of 256 qualities, by bisection
    while args.rate is not None and low < high:
        middle = (low + high) // 2
        tried = compress(codec, photo.pixels, middle / MAX_QUALITY)
        if 8 * len(tried) <= args.rate * pixels:
            data, low = tried, middle + 1
        else:
            high = middle
    if data is None:
        raise ValueError(f"at its lowest quality it needs {8 * len(tried) / pixels:.3f} bits per pixel")
    with replacing(target) as temporary:
        temporary.write_bytes(data)
    dropped = ", its colour profile is dropped" if photo.icc_profile else ""
    return f"{len(data):,} bytes, {8 * len(data) / pixels:.3f} bits per pixel{dropped}"


def decompress(codec, source: Path, target: Path) -> str:
    from keras_recon.compression import decompress
    from keras_recon.images import ImageFile, write_image

    image = ImageFile(decompress(codec, source.read_bytes()))
    write_image(target, image)
    return "{1} x {0} pixels".format(*image.pixels.shape)


if __name__ == "__main__":
    main()
