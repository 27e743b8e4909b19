"""LPIPS, the perceptual distance that was fitted to people's judgements."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_recon.features.extractor import FeatureExtractor
from keras_recon.layers.conv import check_choice, conv

SUFFIXES = (".safetensors", ".npz")
# Of the photos that the networks were trained on, as pixels in [-1, 1].
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Part(NamedTuple):
    """What is between two places that are read: a maximum pooling (size, of stride 2), then convolutions with ReLU.

    These are (filters, size, stride) by their number in torchvision's network.
    """

    pool: int | None
    convolutions: dict[int, tuple[int, int, int]]


def _vgg(pool, filters, *numbers):
    return Part(pool, {number: (filters, 3, 1) for number in numbers})


NETWORKS = {
    "alex": (
        Part(None, {0: (64, 11, 4)}),
        Part(3, {3: (192, 5, 1)}),
        Part(3, {6: (384, 3, 1)}),
        Part(None, {8: (256, 3, 1)}),
        Part(None, {10: (256, 3, 1)}),
    ),
    "vgg": (
        _vgg(None, 64, 0, 2),
        _vgg(2, 128, 5, 7),
        _vgg(2, 256, 10, 12, 14),
        _vgg(2, 512, 17, 19, 21),
        _vgg(2, 512, 24, 26, 28),
    ),
}
PADDING = {11: 2, 5: 2, 3: 1}  # by the size of a convolution


@keras.saving.register_keras_serializable("keras_recon")
class LPIPS(keras.layers.Layer):
    """Learned perceptual image patch similarity of pairs of images, (batch,), 0 for equal ones.

    From "The unreasonable effectiveness of deep features as a perceptual metric" (Zhang et al., 2018), version 0.1, at
    five depths of a network for ImageNet:

        images -> convolutions -> unit length over channels -> squared difference -> weighted sum -> mean over positions

    The layer is not trained. Its weights are random, and channels count alike, until `from_file` brings them.

    Args:
        network: `"alex"` (AlexNet), which the authors advise for evaluation, or `"vgg"` (VGG16).

    Example:
    >>> layer = keras_recon.features.LPIPS("alex")
    >>> images = np.random.rand(2, 64, 64, 3).astype("float32")
    >>> [float(distance) for distance in layer(images, images)]
    [0.0, 0.0]
    """

    def __init__(self, network: str = "alex", **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        check_choice("network", network, tuple(NETWORKS))
        self.network = network
        self.convolutions, self.heads = {}, []
        channels = 3
        for i, part in enumerate(NETWORKS[network]):
            for number, (filters, size, stride) in part.convolutions.items():
                layer = conv(filters, size, strides=stride, padding="valid", activation="relu", dtype=self.dtype_policy)
                layer.build((None, None, None, channels))
                self.convolutions[str(number)] = layer
                channels = filters
            self.heads.append(self.add_weight(shape=(channels,), initializer="ones", name=f"head_{i}"))
        self.trainable = False
        self.built = True

    @classmethod
    def from_file(cls, path: str | Path) -> "LPIPS":
        """The layer with the weights of a file, which tells the network.

        Args:
            path: `.safetensors` or `.npz`, as `examples/convert_lpips.py` writes them: of the convolutions under
                torchvision's names (`features.0.weight`, `features.0.bias` ...), of the heads under those of the
                package `lpips` (`lin0.model.1.weight` ...).

        Example:
        >>> layer = keras_recon.features.LPIPS("alex")
        >>> np.savez("alex.npz", **layer.named_arrays())
        >>> keras_recon.features.LPIPS.from_file("alex.npz").network
        'alex'
        """
        arrays = _read(Path(path))
        vgg_kernel = (64, 3, 3, 3)
        layer = cls("vgg" if getattr(arrays.get("features.0.weight"), "shape", None) == vgg_kernel else "alex")
        for name, own in layer.named_arrays().items():
            found = arrays.get(name)
            if found is None or found.shape != own.shape:
                received = "none" if found is None else found.shape
                raise ValueError(f"{path} must have the weight {name} of shape {own.shape}. Received: {received}")
        for number, convolution in layer.convolutions.items():
            convolution.kernel.assign(arrays[f"features.{number}.weight"].transpose(2, 3, 1, 0))
            convolution.bias.assign(arrays[f"features.{number}.bias"])
        for i, head in enumerate(layer.heads):
            head.assign(arrays[f"lin{i}.model.1.weight"].reshape(-1))
        return layer

    def named_arrays(self) -> dict[str, np.ndarray]:
        """The weights under the names and in the shapes of `from_file`."""
        arrays = {}
        for number, convolution in self.convolutions.items():
            arrays[f"features.{number}.weight"] = ops.convert_to_numpy(convolution.kernel).transpose(3, 2, 0, 1)
            arrays[f"features.{number}.bias"] = ops.convert_to_numpy(convolution.bias)
        for i, head in enumerate(self.heads):
            arrays[f"lin{i}.model.1.weight"] = ops.convert_to_numpy(head).reshape(1, -1, 1, 1)
        return arrays

    def call(self, y_true, y_pred):
        """Distances of images (batch, height, width, 1 or 3 channels) in [0, 1], at least 32x32 pixels."""
        pairs = zip(self.features(y_true), self.features(y_pred), self.heads)
        return sum(ops.mean(ops.square(a - b) @ ops.expand_dims(head, 1), axis=(1, 2, 3)) for a, b, head in pairs)

    def features(self, images) -> list:
        """Features (batch, rows, columns, channels) at the five depths, of unit length over channels."""
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"LPIPS needs images of 1 or 3 channels. Received: shape={tuple(images.shape)}")
        mean, std = (ops.convert_to_tensor(values, self.compute_dtype) for values in (MEAN, STD))
        x, read = (2.0 * images - 1.0 - mean) / std, []  # gray has three equal channels by broadcasting
        for part in NETWORKS[self.network]:
            if part.pool:
                x = ops.max_pool(x, part.pool, strides=2, data_format="channels_last")
            for number, (_, size, _) in part.convolutions.items():
                border = (PADDING[size],) * 2
                x = self.convolutions[str(number)](ops.pad(x, [(0, 0), border, border, (0, 0)]))
            # The summand keeps the gradient finite where all features are 0.
            read.append(x / (ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-20) + 1e-10))
        return read

    def compute_output_shape(self, y_true_shape, y_pred_shape):
        return (y_true_shape[0],)

    def get_config(self):
        return {**super().get_config(), "network": self.network}


def _read(path) -> dict[str, np.ndarray]:
    """The arrays of a file that runs no code."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    raise ValueError(f"Weights of LPIPS must be in a file of {' or '.join(SUFFIXES)}. Received: {path}")


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
