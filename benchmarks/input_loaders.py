"""The loaders that `input_speed.py` measures, under the labels of its tables.

Their processes import this module too: TensorFlow and keras_recon are imported where they are used.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

NOISE = "noise:25"
RECORDS = ("tfrecord", "array_record")


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


def own(source: str, crop: int, decoded: bool = False, degradation: str | None = None, **options):
    from keras_recon import data, degradations

    photos, _ = data.load_photos(source, **options)
    if decoded:
        _ = [photos[i] for i in range(len(photos))]
    elif "cache" not in options:
        photos = photos.unkept()
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
    "keras_recon, decoded before": Loader(partial(own_folder, decoded=True), small=True),
    f"keras_recon, decoded before, {NOISE}": Loader(partial(own_folder, decoded=True, degradation=NOISE), small=True),
    "keras_recon, --cache": Loader(own_cache, small=True),
    **{f"keras_recon, {name}": Loader(own_records, records=name, small=True) for name in RECORDS},
    f"{TORCH}, 0 workers": Loader(partial(torch_loader, num_workers=0), ("torch",)),
    f"{TORCH}, {os.cpu_count()} workers": Loader(partial(torch_loader, num_workers=os.cpu_count()), ("torch",)),
    "Grain and Pillow": Loader(grain_loader, ("grain",)),
    "tf.data, decode_and_crop_jpeg": Loader(tf_data),
}
