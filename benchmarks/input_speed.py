"""Speed of the input: images per second that are read, decoded and cropped at random, beside other loaders.

JPEG files of 500x375 and of 4000x3000 pixels, and the small ones as TFRecord and ArrayRecord, are made from the photos
of scikit-image. No loader keeps decoded photos, but for rows that say so: in memory, or on disk by `--cache`. The
operating system has the files in memory. Then what folders of many files take: memory, and time to begin.

The processes of other loaders import this module too: TensorFlow and keras_recon are imported where they are used.
"""

import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from arguments import Parser, positive
from PIL import Image

CROPS = (64, 224)
NOISE = "noise:25"
RECORDS = ("tfrecord", "array_record")
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


def random_crop(path: Path, crop: int) -> np.ndarray:
    """What the other loaders do for each photo."""
    with Image.open(path) as image:
        photo = np.asarray(image.convert("RGB"))
    rng = np.random.default_rng()
    top, left = (rng.integers(0, side - crop + 1) for side in photo.shape[:2])
    return photo[top : top + crop, left : left + crop].astype("float32") / 255


class Crops:
    """A map-style data set for PyTorch and Grain."""

    def __init__(self, folder, crop):
        self.paths = sorted(Path(folder).glob("*.jpg")) * 1000
        self.crop = crop

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return random_crop(self.paths[index], self.crop)


def own(source: str, crop: int, cache_bytes: int = 0, degradation: str | None = None, **options):
    from keras_recon import data, degradations

    photos, _ = data.load_photos(source, **options)
    if "cache" not in options:
        photos.cache_bytes = cache_bytes
        photos = photos.with_keys(photos.keys)
    if cache_bytes:
        _ = [photos[i] for i in range(len(photos))]
    degradation = degradations.get(degradation)
    return iter(data.training_batches(photos, (crop, crop, 3), 32, 10**5, 1, seed=0, degradation=degradation))


def own_folder(folder: Path, crop: int, **options):
    return own(str(folder), crop, **options)


def own_cache(folder: Path, crop: int):
    return own(str(folder), crop, cache=folder.parent / "cache")


def own_records(folder: Path, crop: int):
    return own("tfds:photos", crop, data_dir=str(folder))


def torch_loader(folder: Path, crop: int, num_workers: int):
    from torch.utils.data import DataLoader

    context = "spawn" if num_workers else None  # forked beside TensorFlow's threads, a worker can hang for ever
    return iter(DataLoader(Crops(folder, crop), 32, True, num_workers=num_workers, multiprocessing_context=context))


def grain_loader(folder: Path, crop: int):
    import grain

    crops = grain.MapDataset.source(Crops(folder, crop)).shuffle(seed=0)
    return iter(crops.to_iter_dataset(grain.ReadOptions(num_threads=os.cpu_count())).batch(32))


def tf_data(folder: Path, crop: int):
    """TensorFlow's own decoder, which decodes the crop only."""
    import tensorflow as tf

    def cut(path):
        file = tf.io.read_file(path)
        shape = tf.io.extract_jpeg_shape(file)
        top, left = (tf.random.uniform((), 0, shape[i] - crop + 1, tf.int32) for i in (0, 1))
        pixels = tf.io.decode_and_crop_jpeg(file, [top, left, crop, crop], 3)
        return tf.cast(pixels, tf.float32) / 255

    paths = tf.data.Dataset.list_files(f"{folder}/*.jpg").repeat()
    return iter(paths.map(cut, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE))


@dataclass(frozen=True)
class Loader:
    """What a row's label runs.

    Attributes:
        begin: of a folder and the side of a crop, an endless iterator of batches of 32 crops.
        needs: modules.
        records: the format of the records that it reads in place of JPEG files.
        small: whether it is timed on the small photos only.
    """

    begin: Callable
    needs: tuple[str, ...] = ()
    records: str | None = None
    small: bool = False


TORCH = "torch DataLoader and Pillow"
LOADERS = {
    "keras_recon": Loader(own_folder),
    f"keras_recon, {NOISE}": Loader(partial(own_folder, degradation=NOISE)),
    "keras_recon, decoded before": Loader(partial(own_folder, cache_bytes=2**30), small=True),
    f"keras_recon, decoded before, {NOISE}": Loader(
        partial(own_folder, cache_bytes=2**30, degradation=NOISE), small=True
    ),
    "keras_recon, --cache": Loader(own_cache, small=True),
    **{f"keras_recon, {name}": Loader(own_records, records=name, small=True) for name in RECORDS},
    f"{TORCH}, 0 workers": Loader(partial(torch_loader, num_workers=0), ("torch",)),
    f"{TORCH}, {os.cpu_count()} workers": Loader(partial(torch_loader, num_workers=os.cpu_count()), ("torch",)),
    "Grain and Pillow": Loader(grain_loader, ("grain",)),
    "tf.data, decode_and_crop_jpeg": Loader(tf_data),
}


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
    from keras_recon.utils.environment import environment
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import results_table

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
