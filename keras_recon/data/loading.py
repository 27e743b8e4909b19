"""What `data` can be, and how photos and batches are made of it."""

import numbers
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_recon import degradations
from keras_recon.data.batches import epoch_batches, validation_batches
from keras_recon.data.cache import kept_on_disk
from keras_recon.data.crops import RandomPairs
from keras_recon.data.folders import split_folders, walk
from keras_recon.data.pairs import folder_pairs, is_table, pair_folders, paired_photos, table_pairs
from keras_recon.data.photos import Photos, read_photo
from keras_recon.data.splits import separate, split
from keras_recon.degradations.base import Degradation, is_number, require
from keras_recon.images import SUFFIXES
from keras_recon.images.pixels import MODES, to_channels

# The photographs of scikit-image, without its drawings, texts, masks, micrographs and the second stereo view.
SAMPLE_TRAIN = ("astronaut", "brick", "cat", "clock", "coins", "grass", "gravel")
SAMPLE_TRAIN += ("hubble_deep_field", "moon", "stereo_motorcycle")
SAMPLE_VALIDATION = ("camera", "coffee", "rocket")
TFDS_VALIDATION = ("validation", "val", "test")  # splits of TensorFlow Datasets; the first that exists is used


def load(
    data,
    image_shape: tuple[int, int, int],
    batch_size: int = 32,
    steps_per_epoch: int = 100,
    degradation: str | Degradation | None = None,
    seed: int = 0,
    quarter_turns: bool = False,
    on_bad: str = "skip",
    data_dir: str | None = None,
    val_data=None,
    target: str | Path | None = None,
    val_target: str | Path | None = None,
    cache: str | Path | None = None,
    resize: int | None = None,
    upscale: int | None = None,
):
    """Create training and validation data sets of photos for `fit`: batches (degraded, clean) of crops.

    Each iteration over the training data set yields the random crops of the next epoch. Validation is the same in every
    epoch: at most 512 crops, side by side, from all photos.

    Args:
        data: `"sample"`, `"tfds:NAME"`, a folder, a list of paths, or a pair (training, validation) of lists of paths
            or of arrays, see `load_photos`.
        image_shape: (height, width, channels) of the degraded crops; channels are 1, 3 or 4.
        batch_size: pairs per batch.
        steps_per_epoch: batches per epoch of training.
        degradation: a `Degradation` or its text, such as `"noise:25"`, see `keras_recon.degradations.from_string`; None
            for pairs of equal images.
        seed: of the crops and their degradations, an integer from 0.
        quarter_turns: whether training crops, which must be square, are also rotated by 0, 90, 180 or 270 degrees.
        on_bad: what to do about files that cannot be used: "skip" logs their names, "error" raises a ValueError.
        data_dir: folder of TensorFlow Datasets; its default if None.
        val_data: photos for validation, see `load_photos`.
        target: folder of the clean photos if those in `data` are degraded, see `load_photos`.
        val_target: the same for `val_data`.
        cache: folder that keeps the decoded photos for later calls; None for none.
        resize: maximum length of the shorter side of photos in pixels, see `load_photos`.
        upscale: how many times as high and wide as the degraded crops the clean crops are, for models that enlarge
            images. Degraded crops of photos are the clean crops, downscaled (bicubic, antialiased) before `degradation`
            is applied. Targets of pairs must have this size; by default it is theirs.

    Returns:
        (training, validation): `tf.data.Dataset`s on every backend, or `keras.utils.PyDataset`s of the same batches if
        TensorFlow is not installed. Images are float32, in [0, 1] unless the degradation leaves this range.

    Raises:
        ValueError: an argument is wrong, a part has no photo, or more than half of the photos cannot be used.

    Example:
    >>> training, validation = keras_recon.data.load("sample", (64, 64, 3), batch_size=8, degradation="noise:25")
    >>> noisy, clean = next(iter(training))
    >>> noisy.shape, len(training)
    ((8, 64, 64, 3), 100)
    """
    valid = isinstance(image_shape, (tuple, list)) and len(image_shape) == 3
    valid = valid and all(is_number(side, 1, kind=numbers.Integral) for side in image_shape) and image_shape[2] in MODES
    require(valid, "image_shape", f"(height, width, channels), channels one of {[*MODES]}", image_shape)
    integers = (("batch_size", batch_size, 1), ("steps_per_epoch", steps_per_epoch, 1), ("seed", seed, 0))
    for name, number, least in (*integers, ("upscale", 1 if upscale is None else upscale, 1)):
        require(is_number(number, least, kind=numbers.Integral), name, f"an integer from {least}", number)
    degradation = degradations.get(degradation)
    options = {"val_data": val_data, "target": target, "val_target": val_target, "cache": cache, "resize": resize}
    parts = load_photos(data, image_shape[2], data_dir, on_bad, **options)
    training, validation = (photos.for_upscale(upscale or photos.upscale) for photos in parts)
    pairs = RandomPairs(training, image_shape, seed, degradation, quarter_turns)
    return (
        epoch_batches(pairs, batch_size, steps_per_epoch),
        validation_batches(validation, image_shape, batch_size, degradation=degradation),
    )


def load_photos(
    data,
    channels: int = 3,
    data_dir: str | None = None,
    on_bad: str = "error",
    val_data=None,
    target: str | Path | None = None,
    val_target: str | Path | None = None,
    cache: str | Path | None = None,
    resize: int | None = None,
    thumbnails: str | Path | None = None,
) -> tuple[Photos, Photos]:
    """Return training and validation photos. No photo of a file, nor a copy of it, is in both.

    Args:
        data: `"sample"` (13 photos of scikit-image), `"tfds:NAME"` (TensorFlow Datasets), the path of a folder of
            images or of a CSV file of pairs, a list of paths, or a pair (training, validation) of lists of paths, of
            arrays or of lists of arrays. Arrays are images (height, width, channels), uint8 or float in [0, 1]. A list
            of paths, a CSV file, or a folder without subfolders for training and validation is divided by
            `keras_recon.data.splits.split`.
        channels: 1, 3 or 4; files are converted, arrays must have them.
        data_dir: folder of TensorFlow Datasets; its default if None.
        on_bad: what to do about files that cannot be used: "skip" or "error", see `keras_recon.data.photos.BadFiles`.
        val_data: folder, CSV file or list of paths of the photos for validation. All of `data` are for training then,
            of `"sample"` and `"tfds:NAME"` their part for training.
        target: folder of the clean photos if those in the folder `data` are degraded. The files of a pair have the same
            path inside their folders, except for the suffix. A folder that contains the folders `input` and `target`
            needs no target, nor does a CSV file of two columns, degraded and clean. Clean photos may be an integer
            number of times as high and wide, see `keras_recon.data.pairs.paired_photos`.
        val_target: the same for `val_data`.
        cache: folder that keeps decoded photos, see `keras_recon.data.cache.kept_on_disk`, and thumbnails for later
            calls; None for none.
        resize: maximum length of the shorter side in pixels; longer ones are downscaled (bicubic, antialiased).
        thumbnails: folder that keeps the thumbnails of the search for copies if there is no `cache`.

    Example:
    >>> training, validation = keras_recon.data.load_photos("sample")
    >>> len(training), len(validation), training[0].shape
    (10, 3, (512, 512, 3))
    """
    require(val_target is None or val_data is not None, "val_target", "None without `val_data`", val_target)
    require(resize is None or resize >= 1, "resize", "at least 1", resize)
    if val_data is None:
        parts = find_photos(data, target, channels, data_dir, on_bad)
    else:
        parts = [all_photos(data, target, channels, data_dir, on_bad)]
        parts.append(all_photos(val_data, val_target, channels, data_dir, on_bad))
    if len(parts) == 1:
        parts = split(*parts, cache or thumbnails, by_file_name=not _is_path(data))
    else:
        parts = separate(*parts, cache or thumbnails)
    if resize is not None:
        require(not parts[0].is_paired, "resize", "None for pairs, whose degradations it would change", resize)
        parts = [photos.downscaled(resize) for photos in parts]
    if cache is not None:
        parts = [kept_on_disk(photos, Path(cache), f"{channels} channels, resize {resize}") for photos in parts]
    return tuple(parts)


def all_photos(data, target=None, channels: int = 3, data_dir: str | None = None, on_bad: str = "error") -> Photos:
    """Return all photos or pairs of a folder, CSV file or list of paths; of other data the part for training.

    The arguments are those of `load_photos`.
    """
    return find_photos(data, target, channels, data_dir, on_bad, divided=False)[0]


def folder_photos(folder: str | Path, channels: int = 3, on_bad: str = "error") -> Photos:
    """Return all photos of a folder, which is searched recursively.

    Hidden files and folders, whose names start with a dot, are left out. Links to files are followed, links to folders
    are not. Broken links and folders that cannot be read are bad photos.

    Args:
        folder: path of the folder.
        channels: 1, 3 or 4; files are converted.
        on_bad: "skip" or "error", see `Photos`.

    Example:
    >>> for name in ("a.png", "deep/b.jpg"):
    ...     keras_recon.images.write_image(name, keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8")))
    >>> keras_recon.data.folder_photos(tmp_path).keys
    ['a.png', 'deep/b.jpg']
    """
    _require_folder(folder)
    names, unreadable = walk(folder)
    if not names:
        raise ValueError(f"Found no image in {folder}. Accepted suffixes: {', '.join(SUFFIXES)}")
    photos = _file_photos({name: Path(folder, name) for name in names}, channels, on_bad)
    for name, reason in unreadable.items():
        photos.reject(name, reason)
    return photos


def find_photos(data, target, channels, data_dir, on_bad, divided: bool = True) -> Sequence[Photos]:
    """Return [training, validation] of data that is divided, else [all photos].

    The arguments are those of `load_photos`; `divided` says whether subfolders for training and for validation count.
    """
    if target is not None and not all(_is_path(folder) and os.path.isdir(folder) for folder in (data, target)):
        raise ValueError(f"`data` and `target` must be folders of images. Received: data={data!r}, target={target!r}")
    if not _is_path(data):
        return _listed_photos([*data], channels, on_bad, divided)
    require(channels in MODES, "channels", f"one of {[*MODES]} for image files", channels)
    if data == "sample":
        return [_sample_photos(names, channels) for names in (SAMPLE_TRAIN, SAMPLE_VALIDATION)]
    if str(data).startswith("tfds:"):
        return _tfds_photos(str(data).removeprefix("tfds:"), channels, data_dir, on_bad)
    if is_table(data):
        return [paired_photos(table_pairs(Path(data)), channels, on_bad)]
    folders = pair_folders(data, target) or (Path(data),)
    _require_folder(folders[-1])
    if divided and (names := split_folders(folders[-1], walk(folders[-1])[0])):
        parts = ([folder / name for folder in folders] for name in names)
        return [all_photos(*part, channels=channels, on_bad=on_bad) for part in parts]
    if len(folders) == 2:
        return [paired_photos(folder_pairs(*folders), channels, on_bad)]
    return [folder_photos(data, channels, on_bad)]


def _require_folder(folder):
    valid = os.path.isdir(folder)  # unlike pathlib, for any path
    require(valid, "data", "'sample', 'tfds:NAME' or a folder of images that is there", str(folder))


def _is_path(data) -> bool:
    return isinstance(data, (str, Path))


def _file_photos(files: dict[str, Path], channels: int, on_bad: str) -> Photos:
    paths = {name: (path,) for name, path in files.items()}
    return Photos(
        [*files], lambda name: read_photo(files[name], channels), on_bad=on_bad, paths=paths, file_channels=channels
    )


def _sample_photos(names: tuple[str, ...], channels: int) -> Photos:
    import skimage.data

    def read(name):
        photo = getattr(skimage.data, name)()
        return to_channels(photo[0] if isinstance(photo, tuple) else photo, channels)  # the left view of a stereo pair

    return Photos(names, read)


def _listed_photos(data: list, channels: int, on_bad: str, divided: bool) -> list[Photos]:
    """The photos of a list of paths, or of a pair of lists of paths or of images."""
    if all(map(_is_path, data)) and (data or not divided):
        if not data:
            raise ValueError("`data` and `val_data` must have photos. Received: an empty list")
        return [_file_photos({str(path): Path(path) for path in data}, channels, on_bad)]
    if len(data) != 2:
        raise ValueError(
            "`data` must be a list of paths, or a pair (train, validation) of lists of paths or images. "
            f"Received: {len(data)}" + (f" of type {type(data[0]).__name__}" if data else "")
        )
    counts = [*map(len, data)]
    if not all(counts):
        raise ValueError(
            f"`data` must have images for training and for validation. Received: {counts[0]} and {counts[1]}"
        )
    options = (channels, on_bad, False)
    return [_listed_photos(p, *options)[0] if _is_path(p[0]) else _array_photos(p, channels) for p in data]


def _array_photos(images, channels: int) -> Photos:
    for image in images:
        valid = image.dtype == np.uint8 or (image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1)
        if image.ndim != 3 or image.shape[-1] != channels or not valid:
            raise ValueError(
                f"`data` must be images (height, width, {channels}), uint8 or float in [0, 1]. Received: an image of "
                f"shape {image.shape}, {image.dtype} from {image.min()} to {image.max()}"
            )
    return Photos(range(len(images)), images.__getitem__)


def _tfds_photos(name: str, channels: int, data_dir: str | None, on_bad: str) -> list[Photos]:
    """The training and validation images of a TensorFlow Dataset, downloaded and prepared if `data_dir` lacks it.

    Training is the split `train`. Validation is the first of `validation`, `val` and `test` that exists, else the last
    tenth of `train`. The images are the feature `image`, or the only image feature that is no label map. They are read
    one by one from disk; memory holds 24 bytes for each. Without a network, tensorflow_datasets retries for minutes
    before the RuntimeError.
    """
    import tensorflow_datasets  # takes a second

    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise ValueError(f"TensorFlow Datasets knows no {name!r} (data_dir={data_dir!r})") from error
    if not builder.is_prepared():
        print(f"tfds:{name} is not prepared in {builder.data_path}: downloading", flush=True)
    try:
        builder.download_and_prepare()
    except Exception as error:  # no network, full disk, wrong checksum, manual download: tfds raises many types
        raise RuntimeError(
            f"Could not prepare tfds:{name}; do it where there is a network (`tfds build {name}`) and pass that folder "
            f"as `data_dir`. Received: data_dir={data_dir!r}, {type(error).__name__}: {error}"
        ) from error
    train = _tfds_split(builder, "train", channels, on_bad)
    for split_name in TFDS_VALIDATION:
        if split_name in builder.info.splits:
            return [train, _tfds_split(builder, split_name, channels, on_bad)]
    cut = len(train) - max(1, len(train) // 10)
    return [train.subset(keys) for keys in (train.keys[:cut], train.keys[cut:])]


def _tfds_split(builder, name: str, channels: int, on_bad: str) -> Photos:
    import tensorflow_datasets as tfds

    info = builder.info
    if name not in info.splits:
        raise ValueError(f"tfds:{builder.name} must have the split {name!r}. Received: {list(info.splits)}")
    kinds = sorted((key, kind) for key, kind in info.features.items() if isinstance(kind, tfds.features.Image))
    keys = [key for key, kind in kinds if not isinstance(kind, tfds.features.LabeledImage)]
    if "image" not in keys and len(keys) != 1:
        raise ValueError(f"tfds:{builder.name} must have one image feature, or one named 'image'. Received: {keys}")
    key, files = "image" if "image" in keys else keys[0], info.splits[name].filepaths
    is_sequential = info.file_format == tfds.core.FileFormat.TFRECORD
    examples = _TFRecords(files, info.features) if is_sequential else builder.as_data_source(name)
    count = info.splits[name].num_examples
    return Photos(range(count), lambda i: to_channels(examples[i][key], channels), on_bad=on_bad, shared_files=files)


class _TFRecords:
    """Random access to TFRecord files, which `tensorflow_datasets` provides for its other formats only."""

    def __init__(self, files, features):
        self.files = [str(path) for path in files]
        self.features = features
        self.spans = np.array([(i, *span) for i, path in enumerate(self.files) for span in _spans(path)])

    def __getitem__(self, index: int) -> dict:
        import tensorflow as tf

        file, offset, length = self.spans[index]
        with tf.io.gfile.GFile(self.files[file], "rb") as f:
            f.seek(int(offset))
            return self.features.deserialize_example_np(f.read(int(length)))


def _spans(path: str):
    """(offset, length) of each record: 8 bytes of length and 4 of checksum before it, 4 of checksum behind it."""
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as f:
        end, position = f.size(), 0
        while position < end:
            f.seek(position)
            (length,) = struct.unpack("<Q", f.read(8))
            yield position + 12, length
            position += 16 + length
