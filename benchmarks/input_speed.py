"""Speed of the input: images per second that are read, decoded and cropped at random, beside other loaders.

JPEG files of 500x375 and of 4000x3000 pixels, and the small ones as TFRecord and ArrayRecord, are made from the photos
of scikit-image. No loader keeps decoded photos, but for a row that shows what all else costs. The operating system has
the files in memory. Then what folders of many files take: memory, and time to begin.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from keras_recon import data
from keras_recon.utils.environment import environment
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import results_table

CROP = 64
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


def random_crop(path: Path) -> np.ndarray:
    """What the other loaders do for each photo."""
    with Image.open(path) as image:
        photo = np.asarray(image.convert("RGB"))
    rng = np.random.default_rng()
    top, left = (rng.integers(0, side - CROP + 1) for side in photo.shape[:2])
    return photo[top : top + CROP, left : left + CROP].astype("float32") / 255


class Crops:
    """A map-style data set for PyTorch and Grain."""

    def __init__(self, folder):
        self.paths = sorted(Path(folder).glob("*.jpg")) * 1000

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return random_crop(self.paths[index])


def own(source: str, data_dir: str | None = None, cache_bytes: int = 0):
    photos, _ = data.load_photos(source, data_dir=data_dir)
    photos = data.Photos(photos.keys, photos.read, cache_bytes)
    if cache_bytes:
        _ = [photos[i] for i in range(len(photos))]
    return iter(data.training_batches(photos, (CROP, CROP, 3), 32, 10**5, 1, seed=0))


def torch_loader(folder, num_workers: int):
    from torch.utils.data import DataLoader

    return iter(DataLoader(Crops(folder), 32, shuffle=True, num_workers=num_workers))


def grain_loader(folder, num_threads: int):
    import grain

    crops = grain.MapDataset.source(Crops(folder)).shuffle(seed=0)
    return iter(crops.to_iter_dataset(grain.ReadOptions(num_threads=num_threads)).batch(32))


def tf_data(folder):
    """TensorFlow's own decoder, which decodes the crop alone."""
    import tensorflow as tf

    def crop(path):
        file = tf.io.read_file(path)
        shape = tf.io.extract_jpeg_shape(file)
        top, left = (tf.random.uniform((), 0, shape[i] - CROP + 1, tf.int32) for i in (0, 1))
        pixels = tf.io.decode_and_crop_jpeg(file, [top, left, CROP, CROP], 3)
        return tf.cast(pixels, tf.float32) / 255

    paths = tf.data.Dataset.list_files(f"{folder}/*.jpg").repeat()
    return iter(paths.map(crop, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE))


def rates(loaders: dict, seconds: float, rounds: int) -> dict[str, dict]:
    """Images per second of each loader; they take turns."""
    iterators = {}
    for name, begin in loaders.items():
        try:
            iterators[name] = begin()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    speeds = {name: [] for name in iterators}
    for iterator in iterators.values():
        next(iterator)  # its start is not counted
    for _ in range(rounds):
        for name, iterator in iterators.items():
            batches, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                next(iterator)
                batches += 1
            speeds[name].append(32 * batches / (time.perf_counter() - start))
    cores = os.cpu_count()
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    return {name: {"images per second": speed, "per core": speed / cores} for name, speed in medians.items()}


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="turns, whose median counts (default: 3)")
    parser.add_argument("--files", type=int, nargs="+", default=[10**3, 10**4, 10**5], help="for the memory")
    parser.add_argument("--output", default="input_speed.json")
    args = parser.parse_args(argv)
    results = {}
    with tempfile.TemporaryDirectory() as root:
        for name, (size, count) in SIZES.items():
            folder = Path(root, name)
            folder.mkdir()
            write_photos(folder, size, count)
            loaders = {"keras_recon": lambda f=folder: own(str(f))}
            if name == "500x375":
                loaders["keras_recon, decoded before"] = lambda f=folder: own(str(f), cache_bytes=2**30)
                for kind in ("tfrecord", "array_record"):
                    write_records(Path(root, kind), folder, kind)
                    loaders[f"keras_recon, {kind}"] = lambda k=kind: own("tfds:photos", str(Path(root, k)))
            loaders |= {
                f"torch DataLoader and Pillow, {workers} workers": lambda f=folder, w=workers: torch_loader(f, w)
                for workers in (0, os.cpu_count())
            }
            loaders["Grain and Pillow"] = lambda f=folder: grain_loader(f, os.cpu_count())
            loaders["tf.data, decode_and_crop_jpeg"] = lambda f=folder: tf_data(f)
            results[name] = rates(loaders, args.seconds, args.rounds)
            print(f"\nJPEG of {name}\n{results_table(results[name])}", flush=True)
        photo = next(Path(root, "500x375").glob("*.jpg"))
        results["memory"] = memory(args.files, photo)
        print(f"\n{results_table(results['memory'])}")
    protocol = {**vars(args), "crop": CROP, "batch": 32, "order": "turns, medians", **environment()}
    write_json(args.output, {"results": results, "protocol": protocol})


if __name__ == "__main__":
    main()
