import importlib.util
import numbers
from pathlib import Path

from keras_recon import degradations
from keras_recon.data.pairs import RandomPairs
from keras_recon.data.sources import load_photos
from keras_recon.degradations.base import Degradation, is_number, require
from keras_recon.images.pixels import MODES


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
):
    """Training and validation data sets of photographs, for `fit`: (degraded, clean) batches of crops.

    They are `tf.data.Dataset`s, on every backend; where TensorFlow is not installed, `keras.utils.PyDataset`s of the
    same batches. The training has other crops in every epoch, the n-th time that it is gone through those of epoch n;
    the validation is the same each time: at most 512 crops, side by side, from all photos.

    Args:
        data: `"sample"`, `"tfds:NAME"`, a folder, a list of paths, or a pair (train, validation) of lists of paths or
            of arrays, see `load_photos`.
        image_shape: (height, width, channels) of the crops; channels are 1, 3 or 4.
        batch_size: pairs in a batch.
        steps_per_epoch: batches in an epoch of training.
        degradation: as text, such as `"noise:25"`, see `keras_recon.degradations.from_string`; None for pairs of equal
            images.
        seed: of the crops and of their degradations; any integer from 0.
        quarter_turns: whether training crops, which must be square, are also turned by 0, 90, 180 or 270 degrees.
        on_bad: what is done about files that cannot be used: "skip", which names each in the log, or "error".
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
        val_data, target, val_target: photos for validation, and the clean photos of degraded ones, see `load_photos`.
        cache: folder that keeps the decoded photos, for later calls; None for none.
        resize: the shorter side, in pixels, that larger photos are made smaller to, see `load_photos`.

    Returns:
        (training, validation), of float32 batches (batch, *image_shape): in [0, 1], where the degradation leaves them
        there.

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
    for name, number, least in integers:
        require(is_number(number, least, kind=numbers.Integral), name, f"an integer from {least}", number)
    degradation = degradations.get(degradation)
    sources = {"val_data": val_data, "target": target, "val_target": val_target, "cache": cache, "resize": resize}
    training, validation = load_photos(data, image_shape[2], data_dir, on_bad, **sources)
    pairs = RandomPairs(training, image_shape, seed, degradation, quarter_turns)
    if importlib.util.find_spec("tensorflow"):
        from keras_recon.data import batches
    else:
        from keras_recon.data import py_dataset as batches
    return (
        batches.epoch_batches(pairs, batch_size, steps_per_epoch),
        batches.validation_batches(validation, image_shape, batch_size, degradation=degradation),
    )
