"""Perceptual distances: of features of any pretrained backbone, and LPIPS, which was fitted to human judgements."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon.features.extractor import FeatureExtractor
from keras_recon.layers.conv import check_choice, conv

WEIGHTS = (".safetensors", ".npz")  # suffixes of files with weights of LPIPS
# Of the training photos of the networks, as pixels in [-1, 1].
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Each network consists of five parts, and features are read after each part: the size of a maximum pooling of stride 2,
# if there is one, then convolutions with ReLU, (filters, size, stride) by their number in torchvision's network.
NETWORKS = {
    "alex": (
        (None, {0: (64, 11, 4)}),
        (3, {3: (192, 5, 1)}),
        (3, {6: (384, 3, 1)}),
        (None, {8: (256, 3, 1)}),
        (None, {10: (256, 3, 1)}),
    ),
    "vgg": tuple(
        (2 if part else None, {number: (filters, 3, 1) for number in numbers})
        for part, (filters, numbers) in enumerate(
            ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
        )
    ),
}
PADDING = {11: 2, 5: 2, 3: 1}  # by the size of a convolution


@keras.saving.register_keras_serializable("keras_recon")
class LPIPS(keras.layers.Layer):
    """Learned perceptual image patch similarity: a distance of pairs of images, (batch,), 0 for equal images.

    From "The unreasonable effectiveness of deep features as a perceptual metric" (Zhang et al., 2018), version 0.1, at
    five depths of a network for ImageNet:

        images -> convolutions -> unit length over channels -> squared difference -> weighted sum -> mean over positions

    The layer is not trained. Its convolutions are random and its channel weights are equal until `from_file` loads
    trained ones.

    Args:
        network: `"alex"` (AlexNet), which the authors recommend for evaluation, or `"vgg"` (VGG16).
        **kwargs: see `keras.layers.Layer`.

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
        for i, (_, convolutions) in enumerate(NETWORKS[network]):
            for number, (filters, size, stride) in convolutions.items():
                layer = conv(filters, size, strides=stride, padding="valid", activation="relu", dtype=self.dtype_policy)
                layer.build((None, None, None, channels))
                self.convolutions[str(number)] = layer
                channels = filters
            self.heads.append(self.add_weight(shape=(channels,), initializer="ones", name=f"head_{i}"))
        self.trainable = False
        self.built = True

    @classmethod
    def from_file(cls, path: str | Path) -> "LPIPS":
        """Load the layer from a file of weights, whose shapes determine the network.

        Args:
            path: `.safetensors` or `.npz` file written by `examples/convert_lpips.py`. Convolutions have torchvision's
                names (`features.0.weight`, `features.0.bias` ...), channel weights those of the package `lpips`
                (`lin0.model.1.weight` ...).

        Raises:
            ValueError: if the file has another suffix, or a weight is missing or has another shape.

        Example:
        >>> layer = keras_recon.features.LPIPS("alex")
        >>> np.savez("alex.npz", **layer.named_arrays())
        >>> keras_recon.features.LPIPS.from_file("alex.npz").network
        'alex'
        """
        arrays = _read(Path(path))
        vgg_kernel = (64, 3, 3, 3)
        layer = cls("vgg" if getattr(arrays.get("features.0.weight"), "shape", None) == vgg_kernel else "alex")
        variables = layer._variables()
        for name, expected in layer.named_arrays().items():
            found = arrays.get(name)
            if found is None or found.shape != expected.shape:
                received = "none" if found is None else found.shape
                raise ValueError(f"{path} must have the weight {name} of shape {expected.shape}. Received: {received}")
            variable = variables[name]
            variable.assign(found.transpose(2, 3, 1, 0) if len(variable.shape) == 4 else found.reshape(variable.shape))
        return layer

    def named_arrays(self) -> dict[str, np.ndarray]:
        """Return the weights with the names and shapes of `from_file`."""
        arrays = {name: ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        for name, array in arrays.items():
            if name.endswith("weight"):
                arrays[name] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.reshape(1, -1, 1, 1)
        return arrays

    def _variables(self):
        variables = {}
        for number, layer in self.convolutions.items():
            variables |= {f"features.{number}.weight": layer.kernel, f"features.{number}.bias": layer.bias}
        return variables | {f"lin{i}.model.1.weight": head for i, head in enumerate(self.heads)}

    def call(self, y_true, y_pred):
        """Compute distances of images (batch, height, width, 1 or 3 channels) in [0, 1], at least 32x32 pixels."""
        pairs = zip(self.features(y_true), self.features(y_pred), self.heads)
        return sum(ops.mean(ops.square(a - b) @ ops.expand_dims(head, 1), axis=(1, 2, 3)) for a, b, head in pairs)

    def features(self, images) -> list:
        """Compute features (batch, rows, columns, channels) at the five depths, of unit length over channels."""
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"LPIPS needs images of 1 or 3 channels. Received: shape={tuple(images.shape)}")
        mean, std = (ops.convert_to_tensor(values, self.compute_dtype) for values in (MEAN, STD))
        x, read = (2.0 * images - 1.0 - mean) / std, []  # grayscale is broadcast to three equal channels
        for pool, convolutions in NETWORKS[self.network]:
            if pool:
                x = ops.max_pool(x, pool, strides=2, data_format="channels_last")
            for number, (_, size, _) in convolutions.items():
                border = (PADDING[size],) * 2
                x = self.convolutions[str(number)](ops.pad(x, [(0, 0), border, border, (0, 0)]))
            # The small constants keep the gradient finite where all features are 0.
            read.append(x / (ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-20) + 1e-10))
        return read

    def compute_output_shape(self, y_true_shape, y_pred_shape):
        return (y_true_shape[0],)

    def get_config(self):
        return {**super().get_config(), "network": self.network}


def _read(path) -> dict[str, np.ndarray]:
    """Read arrays from a file format that cannot contain code."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    raise ValueError(f"Weights of LPIPS must be in a file of {' or '.join(WEIGHTS)}. Received: {path}")


def is_lpips(preset: str) -> bool:
    """Return whether a preset is a file of weights of LPIPS rather than a backbone."""
    return Path(preset).suffix in WEIGHTS


def perceptual_distance(y_true, y_pred, preset: str, depths: tuple[int, ...] | None = None):
    """Compute a perceptual distance of images: LPIPS (Zhang et al., 2018), for a backbone with equal channel weights.

    For a backbone, the features of a patch have unit length at each depth. The squared distances of these vectors are
    averaged over patches and summed over depths. Gradients reach both images; the weights are frozen.

    Args:
        y_true: (batch, height, width, channels) in [0, 1], of a known size. The backbone receives them at their own
            size, or at the next lower multiple of its patch size.
        y_pred: images of the same shape.
        preset: a keras-hub preset, `hf://owner/name`, or a local folder in Keras or Hugging Face layout; or a
            `.safetensors` or `.npz` file of `LPIPS`.
        depths: blocks of the backbone whose outputs are compared, see `FeatureExtractor.from_preset`.

    Returns:
        Distances (batch,), at least 0.

    Example:
    >>> images = np.random.rand(2, 32, 32, 3).astype("float32")
    >>> distances = keras_recon.features.perceptual_distance(images, images, "deit_tiny")
    >>> [float(distance) for distance in distances]
    [0.0, 0.0]
    """
    if is_lpips(preset):
        return _loaded(preset)(y_true, y_pred)
    squares = ops.square(preset_features(y_true, preset, depths) - preset_features(y_pred, preset, depths))
    return ops.sum(ops.mean(squares, axis=(1, 2)), axis=-1)


def preset_features(images, preset: str, depths: tuple[int, ...] | None = None):
    """Compute features (batch, rows, columns, depths * hidden_dim) of images, see `perceptual_distance`."""
    images = ops.cast(images, "float32")
    if None in images.shape[1:]:
        raise ValueError(f"Features need images of a known size. Received: shape={tuple(images.shape)}")
    extractor = _loaded(preset, depths, tuple(images.shape[1:]))
    if images.shape[1:] != extractor.image_shape:
        images = ops.image.resize(images, extractor.image_shape[:2], antialias=True, data_format="channels_last")
    return extractor(images)


@lru_cache(maxsize=8)
def _loaded(preset, depths=None, image_shape=None) -> keras.layers.Layer:
    """Load LPIPS, or a feature extractor for an image shape.

    Losses and metrics share it from outside, so that their models neither count nor save its weights. It is loaded in a
    new thread, because graphs of TensorFlow, traces of JAX and scopes of Keras are local to a thread.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        if is_lpips(preset):
            return thread.submit(LPIPS.from_file, preset).result()
        *side, channels = image_shape
        load = FeatureExtractor.from_preset
        return thread.submit(load, preset, tuple(side), depths, channels, dtype="float32").result()


def parse(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Split a text `PRESET` or `PRESET:1,3,5` into preset and depths.

    Example:
    >>> keras_recon.features.perceptual.parse("hf://google/vit-base-patch16-224:1,3,5")
    ('hf://google/vit-base-patch16-224', (1, 3, 5))
    """
    preset, _, depths = text.rpartition(":")
    if preset and re.fullmatch(r"\d+(,\d+)*", depths):
        return preset, tuple(int(depth) for depth in depths.split(","))
    return text, None


def short_name(preset: str, depths: tuple[int, ...] | None = None) -> str:
    """Return the last part of a preset's path with the depths, for the name of a metric."""
    return re.sub(r"\W+", "_", "_".join([Path(preset).stem, *map(str, depths or ())]))
