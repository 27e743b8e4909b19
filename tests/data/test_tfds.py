import numpy as np
import pytest
import tensorflow_datasets

from keras_recon.data import load_photos

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 3), dtype="uint8")

SCALAR = tensorflow_datasets.features.Scalar(np.int64)
IMAGE = tensorflow_datasets.features.Image(shape=(None, None, 3))
OTHER = tensorflow_datasets.features.Image(shape=(None, None, 3))
MASK = tensorflow_datasets.features.LabeledImage(labels=256, shape=(None, None, 1))


def value(kind, i):
    return {SCALAR: i, IMAGE: IMAGES[i], OTHER: 255 - IMAGES[i], MASK: IMAGES[i, ..., :1]}[kind]


def write(data_dir, splits, file_format="tfrecord", features=None):
    """A data set on disk, written by tensorflow_datasets itself."""
    features = features or {"label": SCALAR, "image": IMAGE}
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name="mine",
        version="1.0.0",
        data_dir=data_dir,
        file_format=file_format,
        disable_shuffling=True,
        features=tensorflow_datasets.features.FeaturesDict(features),
        split_datasets={
            name: [(i, {key: value(kind, i) for key, kind in features.items()}) for i in indices]
            for name, indices in splits.items()
        },
    )


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_images_of_both_splits_in_any_order(tmp_path, file_format):
    write(tmp_path, {"train": range(15), "test": range(15, 20)}, file_format)
    training, validation = load_photos("tfds:mine", data_dir=str(tmp_path))
    assert len(training) == 15 and len(validation) == 5
    for i in (14, 0, 7):
        np.testing.assert_array_equal(training[i], IMAGES[i])
    np.testing.assert_array_equal(validation[2], IMAGES[17])
    assert load_photos("tfds:mine", channels=1, data_dir=str(tmp_path))[0][0].shape == (12, 16, 1)


def test_they_are_what_tfds_load_reads(tmp_path):
    write(tmp_path, {"train": range(15), "validation": range(15, 20)})
    expected = tensorflow_datasets.load("mine", split="train", data_dir=str(tmp_path), shuffle_files=False)
    training, _ = load_photos("tfds:mine", data_dir=str(tmp_path))
    for photo, example in zip(training, expected.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(photo, example["image"])


def test_without_a_validation_split_the_last_tenth_is_held_out(tmp_path):
    write(tmp_path, {"train": range(20)})
    training, validation = load_photos("tfds:mine", data_dir=str(tmp_path))
    assert (len(training), len(validation)) == (18, 2)
    np.testing.assert_array_equal(validation[0], IMAGES[18])


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ValueError, match="knows no 'no_such_data_set'"):
        load_photos("tfds:no_such_data_set", data_dir=str(tmp_path))
    write(tmp_path / "a", {"test": range(2)})
    with pytest.raises(ValueError, match="must have the split 'train'"):
        load_photos("tfds:mine", data_dir=str(tmp_path / "a"))
    write(tmp_path / "b", {"train": range(2)}, features={"label": SCALAR})
    with pytest.raises(ValueError, match=r"must have one image feature.*Received: \[\]"):
        load_photos("tfds:mine", data_dir=str(tmp_path / "b"))
    write(tmp_path / "c", {"train": range(2)}, features={"id": SCALAR, "left": IMAGE, "right": OTHER})
    with pytest.raises(ValueError, match=r"must have one image feature.*Received: \['left', 'right'\]"):
        load_photos("tfds:mine", data_dir=str(tmp_path / "c"))


@pytest.mark.parametrize("name, other", [("image", OTHER), ("photo", MASK)])
def test_the_image_is_found_among_others(tmp_path, name, other):
    write(tmp_path, {"train": range(10)}, features={"id": SCALAR, "before": other, name: IMAGE})
    training, _ = load_photos("tfds:mine", data_dir=str(tmp_path))
    np.testing.assert_array_equal(training[3], IMAGES[3])


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch, capsys):
    """The real downloader retries for minutes; what it then raises is raised at once here."""

    def fail(self, *args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tensorflow_datasets.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(RuntimeError, match="Could not prepare tfds:cifar10; do it where there is a network"):
        load_photos("tfds:cifar10", data_dir=str(tmp_path))
    assert f"tfds:cifar10 is not prepared in {tmp_path}" in capsys.readouterr().out
