"""Speed of the input: images per second that are read, decoded and cropped at random, beside other loaders.

JPEG files of 500x375 and of 4000x3000 pixels, and the small ones as TFRecord and ArrayRecord, are made from the photos
of scikit-image. No loader keeps decoded photos, but for rows that say so: in memory, or on disk by `--cache`. The
operating system has the files in memory. Then what folders of many files take: memory, and time to begin.
"""

import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from arguments import Parser, positive
from input_loaders import LOADERS
from PIL import Image

CROPS = (64, 224)
SIZES = {"500x375": ((500, 375), 200), "4000x3000": ((4000, 3000), 12)}  # (width, height), files
MEMORY = """
import pathlib, re, sys, time
from keras_recon import data
def peak():  # not by getrusage, whose maximum a process inherits from the one that began it
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search("VmHWM:[^0-9]*([0-9]+) kB", status)[1]) / 1024
before, start = peak(), time.perf_counter()
photos = data.folder_photos(pathlib.Path(sys.argv[1]))
batches = data.training_batches(photos, (64, 64, 3), 32, 100, 1, 0)
for step, _ in enumerate(batches.as_numpy_iterator()):
    if not step: first = time.perf_counter() - start
print(len(photos), first, peak() - before)
"""


def write_photos(folder: Path, size: tuple[int, int], count: int):
    from keras_recon import data

    photos = [photo for part in data.load_photos("sample") for photo in part]
    for i in range(count):
        photo = Image.fromarray(photos[i % len(photos)]).resize(size, Image.Resampling.BICUBIC)
        photo.save(folder / f"{i:05}.jpg", quality=92)


def write_records(folder: Path, photos: Path, file_format: str):
    import tensorflow_datasets as tfds

    paths = sorted(photos.glob("*.jpg"))
    tfds.dataset_builders.store_as_tfds_dataset(
        name="photos",
        version="1.0.0",
        data_dir=folder,
        file_format=file_format,
        features=tfds.features.FeaturesDict({"image": tfds.features.Image(encoding_format="jpeg")}),
        split_datasets={"train": [(i, {"image": np.asarray(Image.open(path))}) for i, path in enumerate(paths)]},
    )


def rates(names: list[str], root: Path, size: str, seconds: float, rounds: int, crop: int = 64) -> tuple[dict, dict]:
    """Images per second of each loader, and what it gives; they take turns."""
    iterators = {name: LOADERS[name].begin(root / (LOADERS[name].records or size), crop) for name in names}
    ran = {}
    for name, iterator in iterators.items():
        batch = next(iterator)  # its start is not counted
        ran[name] = {"iterator": _class_of(iterator), "batch": _class_of(batch)}
    speeds = {name: [] for name in iterators}
    for _ in range(rounds):
        for name, iterator in iterators.items():
            batches, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                next(iterator)
                batches += 1
            speeds[name].append(32 * batches / (time.perf_counter() - start))
    cores = os.cpu_count()
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    return {name: {"images per second": speed, "per core": speed / cores} for name, speed in medians.items()}, ran


def _class_of(value) -> str:
    """The class of an object by its module and name; of a pair, what is in it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_class_of, value))})"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def memory(counts: list[int], photo: Path) -> dict[str, dict]:
    """Seconds to the first batch of a folder of so many files, and MiB that reading 3,200 crops adds to the process."""
    rows = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(count):
                if i % 10_000 == 0:  # a file can have 65,000 links on ext4
                    source = shutil.copy(photo, f"{folder}/{i:06}.jpg")
                else:
                    os.link(source, f"{folder}/{i:06}.jpg")
            output = subprocess.run([sys.executable, "-c", MEMORY, folder], capture_output=True, text=True, check=True)
            first, mib = map(float, output.stdout.split()[-2:])
            rows[f"{count} files"] = {"seconds to the first batch": first, "MiB": mib}
    return rows


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--loaders", nargs="+", choices=LOADERS, help="(default: all)")
    parser.add_argument("--crops", type=positive, nargs="+", default=CROPS, help="sides of the crops (default: 64 224)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn (default: 4)")
    parser.add_argument("--rounds", type=positive, default=3, help="turns, whose median counts (default: 3)")
    parser.add_argument("--files", type=positive, nargs="+", default=[10**3, 10**4, 10**5], help="for the memory")
    parser.add_argument("--output", default="input_speed.json")
    args = parser.parse_args(argv)
    if not 0 < args.seconds < math.inf:
        parser.error(f"--seconds must be above 0. Received: {args.seconds}")
    names = parser.installed(args.loaders, {name: loader.needs for name, loader in LOADERS.items()})
    with suppress(ImportError):
        import torch  # noqa: F401  before TensorFlow: builds for GPUs crash behind it
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import environment, results_table

    results = {"ran": {}}
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        for size, (shape, count) in SIZES.items():
            (root / size).mkdir()
            write_photos(root / size, shape, count)
        small = next(iter(SIZES))
        for records in {LOADERS[name].records for name in names} - {None}:
            write_records(root / records, root / small, records)
        for size, crop in itertools.product(SIZES, args.crops):
            timed = [name for name in names if size == small or not LOADERS[name].small]
            if not timed:
                continue
            table = f"{size}, crops of {crop}x{crop}"
            results[table], results["ran"][table] = rates(timed, root, size, args.seconds, args.rounds, crop)
            print(f"\nJPEG of {table}\n{results_table(results[table])}", flush=True)
        results["memory"] = memory(args.files, next((root / small).glob("*.jpg")))
        print(f"\n{results_table(results['memory'])}")
    protocol = {**vars(args), "batch": 32, "order": "turns, medians", **environment()}
    write_json(args.output, {"results": results, "protocol": protocol})


if __name__ == "__main__":
    main()
