import struct

import numpy as np
import tensorflow as tf
import tensorflow_datasets

from keras_recon.data.photos import Photos
from keras_recon.images.pixels import to_channels

VALIDATION_SPLITS = ("validation", "val", "test")


def load_tfds(
    name: str, channels: int = 3, data_dir: str | None = None, on_bad: str = "error"
) -> tuple[Photos, Photos]:
    """Training and validation images of a TensorFlow Dataset, downloaded and prepared if `data_dir` lacks it.

    Training takes the split `train`; validation the first of `validation`, `val` and `test` that there is, else the
    last tenth of `train`. The images are those of the feature `image`, or of the only image feature that is no label
    map; they are read one by one wherever they stand on disk, and memory holds 24 bytes for each. Without a network,
    tensorflow_datasets tries for minutes before the RuntimeError.
    """
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
    train = _split(builder, "train", channels, on_bad)
    for split in VALIDATION_SPLITS:
        if split in builder.info.splits:
            return train, _split(builder, split, channels, on_bad)
    cut = len(train) - max(1, len(train) // 10)
    return tuple(train.with_keys(keys) for keys in (train.keys[:cut], train.keys[cut:]))


def _split(builder, split: str, channels: int, on_bad: str) -> Photos:
    if split not in builder.info.splits:
        raise ValueError(f"tfds:{builder.name} must have the split {split!r}. Received: {list(builder.info.splits)}")
    features = builder.info.features
    key = _image_key(builder)
    files = builder.info.splits[split].filepaths
    if builder.info.file_format == tensorflow_datasets.core.FileFormat.TFRECORD:
        read = _TFRecords(files, features).read
    else:
        read = builder.as_data_source(split).__getitem__
    count = builder.info.splits[split].num_examples
    return Photos(range(count), lambda i: to_channels(read(i)[key], channels), on_bad=on_bad, shared_files=files)


def _image_key(builder) -> str:
    kinds = tensorflow_datasets.features
    features = sorted(builder.info.features.items())
    keys = [k for k, kind in features if isinstance(kind, kinds.Image) and not isinstance(kind, kinds.LabeledImage)]
    if "image" not in keys and len(keys) != 1:
        raise ValueError(f"tfds:{builder.name} must have one image feature, or one named 'image'. Received: {keys}")
    return "image" if "image" in keys else keys[0]


class _TFRecords:
    """Random access to TFRecord files, which `tensorflow_datasets` itself gives for its other formats only."""

    def __init__(self, paths, features):
        self.paths = [str(path) for path in paths]
        self.features = features
        self.records = np.array([(i, *record) for i, path in enumerate(self.paths) for record in _spans(path)])

    def read(self, index: int) -> dict:
        file, offset, length = self.records[index]
        with tf.io.gfile.GFile(self.paths[file], "rb") as f:
            f.seek(int(offset))
            return self.features.deserialize_example_np(f.read(int(length)))


def _spans(path: str):
    """(offset, length) of each record: 8 bytes of length and 4 of checksum before it, 4 of checksum behind it."""
    with tf.io.gfile.GFile(path, "rb") as f:
        end, position = f.size(), 0
        while position < end:
            f.seek(position)
            (length,) = struct.unpack("<Q", f.read(8))
            yield position + 12, length
            position += 16 + length
