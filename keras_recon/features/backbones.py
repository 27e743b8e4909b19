"""Image backbones of keras-hub: loading, changing the image shape, and reading the outputs of their blocks."""

import json
import math
import warnings
from pathlib import Path

import keras
import numpy as np
from PIL import Image


def load_backbone(preset: str, load_weights: bool = True, dtype=None) -> keras.Model:
    """Load the image backbone of a preset; of a model of images and texts (CLIP, SigLIP) its vision encoder.

    Args:
        preset: a keras-hub preset, `hf://owner/name`, or a local folder in Keras or Hugging Face layout.
        load_weights: False for the architecture with random weights.
        dtype: dtype policy; the global one by default.

    Raises:
        RuntimeError: if the preset cannot be found or downloaded.
    """
    import keras_hub  # importing it takes seconds

    try:
        backbone = keras_hub.models.Backbone.from_preset(preset, load_weights=load_weights, dtype=dtype)
    except Exception as error:  # the clients of the hubs raise many types
        raise RuntimeError(
            "`preset` must be a keras-hub preset or hf:// model that is cached or can be downloaded, or a local folder "
            "in Keras or Hugging Face layout; without a network, download it elsewhere and pass its folder. "
            f"Received: preset={preset!r} ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    return getattr(backbone, "vision_encoder", backbone)


def deserialize_backbone(config: dict) -> keras.Model:
    """Create a backbone from a config of `keras.saving.serialize_keras_object`."""
    import keras_hub  # noqa: F401  registers the class

    return keras.saving.deserialize_keras_object(config)


def load_mean_std(preset: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Load mean and standard deviation per channel with which a preset's inputs are normalised, for pixels in [0, 1].

    They come from the image converter of a Keras preset or the `preprocessor_config.json` of a Hugging Face one. A
    preset without either gets 0.5 and 0.5, as google/vit-base-patch16-224 has, and a warning.
    """
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception:  # keras-hub raises different types for a preset without a converter
        converter = None
    if converter is not None and converter.scale is not None:  # (255 * pixels) * scale + offset
        std = 1.0 / (255.0 * np.broadcast_to(converter.scale, 3))
        return tuple((-np.asarray(converter.offset or 0.0) * std).tolist()), tuple(std.tolist())
    path = Path(preset, "preprocessor_config.json")
    if preset.startswith("hf://"):
        import huggingface_hub

        try:
            path = Path(huggingface_hub.hf_hub_download(preset.removeprefix("hf://"), path.name))
        except huggingface_hub.errors.LocalEntryNotFoundError:  # offline: the file may exist
            raise
        except huggingface_hub.errors.EntryNotFoundError:
            pass
    if path.exists():
        config = json.loads(path.read_text())
        return tuple(config["image_mean"]), tuple(config["image_std"])
    warnings.warn(f"The preset {preset!r} has no mean and std of its inputs: using 0.5 and 0.5", stacklevel=2)
    return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def adapt_channels(values: np.ndarray, channels: int, axis: int = 0, keep_sum: bool = False) -> np.ndarray:
    """Fit RGB values along an axis to another number of channels, as timm does for patch embeddings.

    Args:
        values: array with three values along `axis`.
        channels: one channel gets the mean of the three; more than three repeat R, G, B, R, ...
        axis: axis of the channels.
        keep_sum: whether to scale values so that a grayscale image has the same effect as in RGB.
    """
    if channels == values.shape[axis]:
        return values
    if channels == 1:
        adapted = values.mean(axis=axis, keepdims=True)
    else:
        adapted = np.take(values, np.arange(channels) % 3, axis=axis)
    return adapted * (3 / channels) if keep_sum else adapted


def resize_positions(table: np.ndarray, grid: tuple[int, int], new_grid: tuple[int, int]) -> np.ndarray:
    """Resize position embeddings to another grid, bicubic and antialiased.

    The result equals that of `torch.nn.functional.interpolate` with `mode="bicubic", antialias=True`, as in timm.

    Args:
        table: (..., prefix + rows * columns, hidden_dim). The prefix, of a class token and the like, is kept.
        grid: rows and columns.
        new_grid: rows and columns of the result.
    """
    tokens, hidden_dim = table.shape[-2:]
    prefix = tokens - math.prod(grid)
    if not 0 <= prefix <= 2:  # the table of DINOv2 has another size than its images
        grid = (math.isqrt(tokens),) * 2
        prefix = tokens - math.prod(grid)
    flat = table.reshape(tokens, hidden_dim).astype("float32")
    planes = flat[prefix:].T.reshape(hidden_dim, *grid)
    size = new_grid[::-1]  # Pillow takes (width, height)
    resized = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in planes]
    resized = np.stack(resized).reshape(hidden_dim, -1).T
    return np.concatenate([flat[:prefix], resized]).reshape(*table.shape[:-2], -1, hidden_dim)


def reshape_backbone(backbone: keras.Model, image_shape: tuple[int, int, int]) -> keras.Model:
    """Create a backbone with the same weights for images of another (height, width, channels).

    Position embeddings are resized (`resize_positions`), and the kernel of the patch embedding is fitted to the number
    of channels (`adapt_channels`).
    """
    image_shape = tuple(image_shape)
    if image_shape == tuple(backbone.image_shape):
        return backbone
    config = {**backbone.get_config(), "image_shape": image_shape}
    if "position_embedding_shape" in config:  # otherwise DINOv2 resizes again when the model is loaded
        config["position_embedding_shape"] = image_shape[:2]
    reshaped = type(backbone).from_config(config)
    side = patch_side(backbone.patch_size)
    grids = [(shape[0] // side, shape[1] // side) for shape in (backbone.image_shape, image_shape)]
    for old, new in zip(backbone.weights, reshaped.weights):
        if "int" in old.dtype:  # indices of positions
            continue
        value = keras.ops.convert_to_numpy(old)
        if old.shape != new.shape and len(old.shape) == 4:
            value = adapt_channels(value, image_shape[-1], axis=2, keep_sum=True)
        elif old.shape != new.shape:
            value = resize_positions(value, *grids)
        new.assign(value)
    return reshaped


def quarter_depths(depth: int) -> list[int]:
    """Return a quarter, half, three quarters and all of the depth of a backbone."""
    return sorted({math.ceil(depth * quarter / 4) for quarter in (1, 2, 3, 4)})


def patch_side(size: int | tuple[int, int]) -> int:
    """Return the side in pixels of a backbone's patches, which must be square, from its `patch_size`."""
    rows, columns = size if isinstance(size, (tuple, list)) else (size, size)
    if rows != columns:
        raise ValueError(f"`backbone` must have square patches. Received: patch_size={size}")
    return rows


def backbone_parts(backbone: keras.Model) -> tuple[list, list]:
    """Return the stem, layers that map images to tokens in turn, and the transformer blocks of a backbone.

    Supported are ViT, DeiT, DINOv2, DINOv3 and the vision encoders of CLIP and SigLIP.

    Raises:
        ValueError: if the backbone is of another kind.
    """
    if hasattr(backbone, "encoder_layers"):  # SigLIP, and CLIP, which has a norm before its blocks
        norm = getattr(backbone, "pre_layer_norm", None)
        return [backbone.embedding, *([norm] if norm else [])], backbone.encoder_layers
    if hasattr(backbone, "embeddings") and hasattr(backbone, "encoder"):
        return [backbone.embeddings], backbone.encoder.layers
    _, embedding, encoder = [*backbone.layers, None, None][:3]
    if not hasattr(encoder, "encoder_layers"):
        raise ValueError(
            "`backbone` must be a keras-hub image backbone that yields patch tokens (ViT, DeiT, DINOv2, DINOv3, or a "
            f"vision encoder of CLIP or SigLIP). Received: backbone of type {type(backbone).__name__}"
        )
    # The embedding of DeiT already contains its dropout.
    return [embedding, *([encoder.dropout] if hasattr(encoder, "dropout") else [])], encoder.encoder_layers


def check_statistics(mean, std, channels: int):
    """Raise a ValueError unless mean and standard deviation have one value for each channel."""
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ValueError(
            f"`mean` and `std` must have one value for each of {channels} channels, `std` above 0. "
            f"Received: mean={mean}, std={std}"
        )


def constant_positions(backbone: keras.Model):
    """Convert the position indices that a layer keeps as a tensor to an array, so that ONNX has no input for them."""
    for layer in backbone_parts(backbone)[0]:
        indices = getattr(layer, "position_ids", None)
        if indices is not None and not isinstance(indices, (keras.Variable, np.ndarray)):
            layer.position_ids = keras.ops.convert_to_numpy(indices)


def read_depths(backbone: keras.Model, depths: tuple[int, ...], inputs) -> list:
    """Compute patch tokens at several depths of a backbone.

    Args:
        backbone: a keras-hub image backbone.
        depths: 0 for the output of the stem, i for the output of block i. Later blocks are not run.
        inputs: images (batch, *backbone.image_shape), normalised for the backbone.

    Returns:
        Tokens (batch, rows, columns, hidden_dim) for each depth.
    """
    stem, blocks = backbone_parts(backbone)
    rows, columns = (side // patch_side(backbone.patch_size) for side in backbone.image_shape[:2])
    tokens, read = inputs, {}
    for layer in stem:
        tokens = layer(tokens)  # (batch, prefix + rows * columns, hidden_dim)
    for depth in range(max(depths) + 1):
        if depth:
            tokens = blocks[depth - 1](tokens)
            tokens = tokens[0] if isinstance(tokens, tuple) else tokens  # blocks of DeiT also return attention scores
        read[depth] = keras.ops.reshape(tokens[:, -rows * columns :], (-1, rows, columns, tokens.shape[-1]))
    return [read[depth] for depth in depths]


@keras.saving.register_keras_serializable("keras_recon")
class BackboneFeatures(keras.layers.Layer):
    """Patch tokens at several depths of a backbone: `read_depths` as a layer.

    Args:
        backbone: a keras-hub image backbone.
        depths: 0 for the output of the stem, i for the output of block i.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> from keras_hub.models import ViTBackbone
    >>> from keras_recon.features.backbones import BackboneFeatures
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> [tokens.shape for tokens in BackboneFeatures(backbone, depths=(0, 4))(keras.ops.ones((2, 32, 32, 3)))]
    [(2, 4, 4, 16), (2, 4, 4, 16)]
    """

    def __init__(self, backbone: keras.Model, depths: tuple[int, ...], **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.backbone = backbone
        self.depths = tuple(depths)

    def build(self, input_shape):
        """Do nothing: backbones are built."""

    def call(self, inputs):
        return read_depths(self.backbone, self.depths, inputs)

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": deserialize_backbone(config["backbone"])})

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone, "depths": self.depths}
