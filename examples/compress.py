"""Make small files of photos with a trained codec, and photos of them again.

    python examples/compress.py photo.png --model codec --output photo.krc
    python examples/compress.py photo.krc --model codec --decompress --output photo.png

INPUT is a file or a folder (searched recursively), and --output a file, or a folder that mirrors the input. The codec
that made a file is needed to read it. Colour profiles and metadata are not kept; photos with an alpha channel or of 16
bits are refused.
"""

import sys
from pathlib import Path

from app.parser import Parser, check_model_path, fail, printable
from app.photo_jobs import READABLE
from app.quiet import quiet_start

COMPRESSED = ".krc"


def main(argv: list[str] | None = None):
    args = parse(argv)
    kinds, kind = ((COMPRESSED,), ".png") if args.decompress else (READABLE, COMPRESSED)
    jobs = [job for source in args.inputs for job in plan(source, args.output, kinds, kind)]
    if len({target for _, target in jobs}) < len(jobs):
        fail("two files would be written to one: give them to two runs, with an --output each")
    if not jobs:
        fail(f"INPUT must be files of {', '.join(kinds)}, or folders with some. Received: {args.inputs[0]}")
    try:
        with quiet_start():
            from keras_recon import load_model
            from keras_recon.compression import ImageCodec

            codec = load_model(args.model, ImageCodec)
    except ValueError as error:
        fail(error)
    failed = 0
    for source, target in jobs:
        try:
            text = decompress(codec, source, target) if args.decompress else compress(codec, source, target, args)
            print(printable(f"{target}: {text}"), flush=True)
        except (ValueError, OSError, ImportError) as error:
            print(printable(f"error: {source}: {error}"), file=sys.stderr)
            failed += 1
    if failed:
        fail(f"{failed} of {len(jobs)} files could not be used")


def parse(argv):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT")
    add("--model", type=Path, required=True, help="codec, a .keras file, or the folder of a trained one")
    add("--output", type=Path, required=True, help="file or folder")
    add("--decompress", action="store_true", help="make photos of compressed files")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quality", type=float, default=50, help="0 to 100 (default: %(default)s)")
    group.add_argument("--rate", type=float, metavar="BITS", help="at most so many bits per pixel, at the best quality")
    args = parser.parse_args(argv)
    check_model_path("--model", args.model)
    if not 0 <= args.quality <= 100:
        fail(f"--quality must be from 0 to 100. Received: {args.quality:g}")
    if args.rate is not None and args.rate <= 0:
        fail(f"--rate must be above 0. Received: {args.rate:g}")
    return args


def plan(source: Path, output: Path, kinds: tuple[str, ...], kind: str) -> list[tuple[Path, Path]]:
    """Each file of some kinds that an input means, and the one to write."""
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in kinds and path.is_file())
        return [(path, output / path.relative_to(source).with_suffix(kind)) for path in found]
    if not source.is_file():
        fail(f"INPUT must be a file or a folder. Received: {source}")
    return [(source, output if output.suffix and not output.is_dir() else output / source.with_suffix(kind).name)]


def compress(codec, source: Path, target: Path, args) -> str:
    from keras_recon.compression import compress
    from keras_recon.compression.files import MAX_QUALITY
    from keras_recon.images import read_image
    from keras_recon.utils.files import replacing

    photo = read_image(source)
    if photo.alpha is not None or photo.pixels.dtype != "uint8":
        raise ValueError("it has an alpha channel or 16 bits, which a codec does not keep")
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
    return f"{len(data):,} bytes, {8 * len(data) / pixels:.3f} bits per pixel"


def decompress(codec, source: Path, target: Path) -> str:
    from keras_recon.compression import decompress
    from keras_recon.images import ImageFile, write_image

    image = ImageFile(decompress(codec, source.read_bytes()))
    write_image(target, image)
    return "{1} x {0} pixels".format(*image.pixels.shape)


if __name__ == "__main__":
    main()
