"""How far apart images are for a frozen network, at several of its depths."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from keras import ops

from keras_recon.features.extractor import FeatureExtractor
from keras_recon.features.lpips import LPIPS, SUFFIXES


def perceptual_distance(y_true, y_pred, preset: str, depths: tuple[int, ...] | None = None):
    """Distance of the features of images, (batch,), as in LPIPS (Zhang et al., 2018) with all channels counting alike.

    At each depth the features of a patch have unit length; the squared distances of these vectors are averaged over
    patches and summed over depths. Gradients reach both images, not the frozen weights.

    Args:
        y_true, y_pred: (batch, height, width, channels) in [0, 1]. The backbone sees them at their own size, or the
            next lower multiple of a patch.
        preset: name of a keras-hub preset, `hf://owner/name`, or a local folder in Keras or Hugging Face layout; or a
            `.safetensors` or `.npz` file of `LPIPS`, whose distance this then is.
        depths: blocks of a backbone whose outputs are compared, see `FeatureExtractor.from_preset`.

    Example:

    >>> images = np.random.rand(2, 32, 32, 3).astype("float32")
    >>> distances = keras_recon.features.perceptual_distance(images, images, "deit_tiny")
    >>> [float(distance) for distance in distances]
    [0.0, 0.0]
    """
    if Path(preset).suffix in SUFFIXES:
        return outside_of_traces(_lpips, preset)(y_true, y_pred)
    squares = ops.square(preset_features(y_true, preset, depths) - preset_features(y_pred, preset, depths))
    return ops.sum(ops.mean(squares, axis=(1, 2)), axis=-1)


def preset_features(images, preset: str, depths: tuple[int, ...] | None = None):
    """Features (batch, rows, columns, depths * hidden_dim) of images of any known size, see `perceptual_distance`."""
    images = ops.cast(images, "float32")
    if None in images.shape[1:]:
        raise ValueError(f"Features need images of a known size. Received: shape={tuple(images.shape)}")
    extractor = outside_of_traces(_extractor, preset, depths, tuple(images.shape[1:]))
    if images.shape[1:] != extractor.image_shape:
        images = ops.image.resize(images, extractor.image_shape[:2], antialias=True, data_format="channels_last")
    return extractor(images)


@lru_cache(maxsize=8)
def _extractor(preset, depths, image_shape) -> FeatureExtractor:
    """Shared by all losses and metrics, whose models thus neither count nor save its weights."""
    *side, channels = image_shape
    return FeatureExtractor.from_preset(preset, tuple(side), depths, channels, dtype="float32")


@lru_cache(maxsize=2)
def _lpips(path) -> LPIPS:
    return LPIPS.from_file(path)


def outside_of_traces(function: Callable, *args):
    """`function(*args)`, with real arrays for its variables wherever it is called.

    Graphs of TensorFlow, traces of JAX and scopes of Keras belong to a thread: a new one is in none of them.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function, *args).result()


def parse(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Preset and depths of a text as `PRESET` or `PRESET:1,3,5`.

    Example:

    >>> keras_recon.features.perceptual.parse("hf://google/vit-base-patch16-224:1,3,5")
    ('hf://google/vit-base-patch16-224', (1, 3, 5))
    """
    preset, _, depths = text.rpartition(":")
    if preset and re.fullmatch(r"\d+(,\d+)*", depths):
        return preset, tuple(int(depth) for depth in depths.split(","))
    return text, None


def short_name(preset: str, depths: tuple[int, ...] | None = None) -> str:
    """What tells a preset in the name of a metric: the end of its path, and the depths."""
    return re.sub(r"\W+", "_", "_".join([Path(preset).stem, *map(str, depths or ())]))
