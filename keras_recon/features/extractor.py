"""Features of images from a frozen backbone, and of photos of any size from tiles, with a cache on disk."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon.features.backbones import (
    BackboneFeatures,
    adapt_channels,
    backbone_parts,
    check_statistics,
    constant_positions,
    load_backbone,
    load_mean_std,
    patch_side,
    reshape_backbone,
)
from keras_recon.images.pixels import resize_bicubic, to_float
from keras_recon.images.tiles import Axis, cut
from keras_recon.utils.files import replacing


@keras.saving.register_keras_serializable("keras_recon")
class FeatureExtractor(BackboneFeatures):
    """Features of each patch of images: outputs of some blocks of a pretrained backbone, concatenated.

        images -> (x - mean) / std -> stem -> block 1 -> block 2 -> ...
                                                 |          |
                                            unit length, concatenated -> features

    The vector of each depth has unit length, so that all depths have equal weight. The layer is frozen.

    Args:
        backbone: a keras-hub image backbone that yields patch tokens (ViT, DeiT, DINOv2, DINOv3, vision encoder of CLIP
            or SigLIP) for images of this shape; see `from_preset`.
        depths: 0 for the input of the first block, i for the output of block i. Later blocks are not run.
        mean: mean of the inputs that the backbone was trained on, per channel, for pixels in [0, 1].
        std: their standard deviation, per channel.
        **kwargs: see `keras.layers.Layer`.

    Input: images (batch, *image_shape) in [0, 1]. Output: features (batch, *feature_shape).

    Example:
    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> extractor(np.random.rand(5, 32, 32, 3).astype("float32")).shape
    (5, 4, 4, 32)
    """

    def __init__(self, backbone: keras.Model, depths: tuple[int, ...], mean=(0.5,) * 3, std=(0.5,) * 3, **kwargs):
        count = len(backbone_parts(backbone)[1])
        if not depths or not all(0 <= depth <= count for depth in depths):
            raise ValueError(f"`depths` must be some of 0 to {count}. Received: depths={depths}")
        check_statistics(mean, std, backbone.image_shape[-1])
        constant_positions(backbone)
        super().__init__(backbone, depths, **kwargs)
        self.trainable = False
        for layer in backbone.layers:  # TensorFlow skips setting what a loaded backbone already has
            layer.trainable = False
        self.image_shape = tuple(backbone.image_shape)
        self.mean, self.std = tuple(mean), tuple(std)
        self.built = True

    @classmethod
    def from_preset(
        cls,
        preset: str,
        side: int | tuple[int, int] | None = None,
        depths: tuple[int, ...] | None = None,
        channels: int = 3,
        **kwargs,
    ) -> "FeatureExtractor":
        """Create an extractor from the backbone of a preset.

        Args:
            preset: a keras-hub preset, `hf://owner/name`, or a local folder in Keras or Hugging Face layout.
            side: side of square images in pixels, or (height, width), rounded down to a multiple of the patch size.
                Position embeddings are resized. By default, the height of the preset's images.
            depths: by default, a sixth, a third and a half of the number of blocks: early blocks keep position and
                appearance.
            channels: number of channels of the images, see `keras_recon.features.backbones.adapt_channels`.
            **kwargs: see `keras.layers.Layer`.

        Raises:
            ValueError: if the side is smaller than a patch.
        """
        backbone = load_backbone(preset, dtype=kwargs.get("dtype"))
        patch, count = patch_side(backbone.patch_size), len(backbone_parts(backbone)[1])
        sides = side if isinstance(side, tuple) else (side or backbone.image_shape[0],) * 2
        height, width = (length // patch * patch for length in sides)
        if not height or not width:
            raise ValueError(f"`side` must be at least a patch, {patch} pixels. Received: side={side}")
        mean, std = (adapt_channels(np.array(values), channels).tolist() for values in load_mean_std(preset))
        depths = depths or sorted({math.ceil(count * share / 6) for share in (1, 2, 3)})
        return cls(reshape_backbone(backbone, (height, width, channels)), depths, mean, std, **kwargs)

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Rows and columns of patches, and number of features of each."""
        rows, columns = (size // patch_side(self.backbone.patch_size) for size in self.image_shape[:2])
        return rows, columns, len(self.depths) * self.backbone.output_shape[-1]

    def call(self, images):
        mean, std = (ops.convert_to_tensor(values, "float32") for values in (self.mean, self.std))
        grids = super().call((ops.cast(images, "float32") - mean) / std)
        grids = [ops.cast(grid, "float32") for grid in grids]
        lengths = [ops.sqrt(ops.sum(ops.square(grid), axis=-1, keepdims=True)) for grid in grids]
        # (batch, rows, columns, depths * hidden_dim)
        return ops.concatenate([grid / (length + 1e-6) for grid, length in zip(grids, lengths)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.feature_shape)

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "std": self.std}


OVERLAP = 8  # neighbouring tiles share 1/8 of their side


def tile_axes(shape: tuple[int, ...], tile: int) -> tuple[Axis, Axis]:
    """Return the axes of square tiles down and across a photo whose shorter side is resized to that of a tile.

    The aspect ratio is kept, and a square photo is one tile. Neighbouring tiles share an eighth of their side. The last
    one may extend beyond the photo, which is mirrored there.

    Args:
        shape: (height, width, ...) of the photo.
        tile: side of the tiles in pixels.
    """
    height, width = shape[:2]
    scale = tile / min(height, width)
    return tuple(Axis(max(tile, round(size * scale)), tile, tile // OVERLAP) for size in (height, width))


def photo_tiles(photo: np.ndarray, tile: int) -> np.ndarray:
    """Cut a photo into square tiles.

    The photo is resized so that its shorter side has the length of a tile; see `tile_axes`.

    Args:
        photo: (height, width, channels), uint8, uint16 or float in [0, 1].
        tile: side of the tiles in pixels.

    Returns:
        Tiles row by row, float32 (tiles, tile, tile, channels).

    Example:
    >>> keras_recon.features.photo_tiles(np.zeros((50, 90, 3), "uint8"), tile=32).shape
    (2, 32, 32, 3)
    """
    rows, columns = tile_axes(photo.shape, tile)
    return np.stack([*cut(resize_bicubic(to_float(photo), (rows.length, columns.length)), rows, columns)])


def photo_features(
    extractor: FeatureExtractor, photos: Sequence[np.ndarray], cache: str | Path | None = None, batch_size: int = 8
) -> np.ndarray:
    """Compute features of the tiles of all photos, see `photo_tiles`.

    Args:
        extractor: a feature extractor for square images.
        photos: photos (height, width, channels), uint8, uint16 or float in [0, 1].
        cache: a folder for features. Features of the same extractor and pixels are computed once and then mapped from
            the file into memory.
        batch_size: number of tiles per batch.

    Returns:
        Features float16 (tiles, rows, columns, features).

    Example:
    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> photos = [np.zeros((50, 90, 3), "uint8"), np.zeros((40, 40, 3), "uint8")]
    >>> keras_recon.features.photo_features(extractor, photos, cache="features").shape
    (3, 4, 4, 32)
    """
    if not cache:
        return np.concatenate([*_batches(extractor, photos, batch_size)])
    path = Path(cache, f"{_digest(extractor, photos)}.npy")
    if not path.exists():
        with replacing(path) as temporary:
            np.save(temporary, np.concatenate([*_batches(extractor, photos, batch_size)]))
    return np.load(path, mmap_mode="r")


def _batches(extractor: FeatureExtractor, photos: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    model = keras.Sequential([keras.Input(extractor.image_shape), extractor])
    tiles = (tile for photo in photos for tile in photo_tiles(photo, extractor.image_shape[0]))
    while batch := [*islice(tiles, batch_size)]:  # padded, so that one shape is compiled
        padded = np.concatenate([batch, np.zeros((batch_size - len(batch), *extractor.image_shape))])
        yield model.predict_on_batch(padded.astype("float32"))[: len(batch)].astype("float16")


def _digest(extractor: FeatureExtractor, photos: Iterable[np.ndarray]) -> str:
    """Return a hash of the backbone's weights, the settings of the extractor, and the pixels."""
    digest = hashlib.sha256(str((extractor.image_shape, extractor.depths, extractor.mean, extractor.std)).encode())
    for array in (*extractor.get_weights(), *photos):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
