"""Features of photos of any size, by tiles, which a folder on the disk keeps."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from keras_recon.features.extractor import FeatureExtractor
from keras_recon.images.pixels import to_float
from keras_recon.images.resize import resize_bicubic
from keras_recon.images.tiles import Axis, cut
from keras_recon.utils.files import replacing

OVERLAP = 8  # neighbouring tiles share this part of their side


def tile_axes(shape: tuple[int, ...], tile: int) -> tuple[Axis, Axis]:
    """Tiles down and across a photo (height, width, ...) whose short side is resized to that of a square tile.

    The aspect ratio is kept, and a square photo is one tile. Tiles share an eighth of their side; the last one may
    reach beyond the photo, where it is mirrored.
    """
    height, width = shape[:2]
    scale = tile / min(height, width)
    return tuple(Axis(max(tile, round(size * scale)), tile, tile // OVERLAP) for size in (height, width))


def photo_tiles(photo: np.ndarray, tile: int) -> np.ndarray:
    """The square tiles of a photo, float (tiles, tile, tile, channels), row by row, see `tile_axes`.

    Args:
        photo: (height, width, channels), uint8, uint16 or float in [0, 1].
        tile: side in pixels of a tile, and of the short side of the resized photo.

    Example:

    >>> keras_recon.features.photo_tiles(np.zeros((50, 90, 3), "uint8"), tile=32).shape
    (2, 32, 32, 3)
    """
    rows, columns = tile_axes(photo.shape, tile)
    return np.stack([*cut(resize_bicubic(to_float(photo), (rows.length, columns.length)), rows, columns)])


def photo_features(
    extractor: FeatureExtractor, photos: Sequence[np.ndarray], cache: str | Path | None = None, batch_size: int = 8
) -> np.ndarray:
    """Features of the tiles of all photos, float16 (tiles, rows, columns, features).

    Args:
        extractor: for square images.
        photos: (height, width, channels), uint8, uint16 or float in [0, 1].
        cache: a folder: what was computed there by the same extractor of the same pixels is not computed again, and is
            read from the disk as it is used.
        batch_size: tiles that the backbone gets at once.

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
    while batch := [*islice(tiles, batch_size)]:
        padded = np.concatenate([batch, np.zeros((batch_size - len(batch), *extractor.image_shape))])  # of one shape
        yield model.predict_on_batch(padded.astype("float32"))[: len(batch)].astype("float16")


def _digest(extractor: FeatureExtractor, photos: Iterable[np.ndarray]) -> str:
    """What tells features apart: the backbone's weights, how it is read, and the pixels."""
    digest = hashlib.sha256(str((extractor.image_shape, extractor.depths, extractor.mean, extractor.std)).encode())
    for array in (*extractor.get_weights(), *photos):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
