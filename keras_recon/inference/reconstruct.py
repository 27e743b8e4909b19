from collections.abc import Callable
from itertools import islice

import numpy as np

from keras_recon.images.pixels import from_float, to_float
from keras_recon.images.tiles import Axis, blend, cut
from keras_recon.models import Reconstructor
from keras_recon.models.checked import check_size
from keras_recon.models.xla import by_xla, faster_by_xla

XLA_MIN_TILES = 2000  # it begins 1 to 2 s later and takes a third less time a tile


def reconstruct(
    model: Reconstructor,
    image: np.ndarray,
    overlap: int | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], object] | None = None,
    strength: float = 1.0,
) -> np.ndarray:
    """The model's reconstruction of a whole image of any size, without seams.

    The image is cut into overlapping tiles of the model's size, mirrored where they reach beyond it, and the outputs
    are blended, see `keras_recon.images.tiles`. An image of the model's size is one tile. Beside input and output,
    only a batch of tiles and a strip of the image as high as a tile are in memory. On TensorFlow, many tiles of a
    transformer are computed by XLA, to the same pixels but for some 1e-5.

    Args:
        model: takes tiles of `model.image_shape`. `for_image_shape` gives some models other tiles.
        image: (height, width, channels) from 1x1 pixels on; uint8, uint16, or float with black at 0 and white at 1,
            which noise may exceed. A model of 3 channels sees gray as three equal ones, and their mean is returned; a
            model of 1 channel is applied to each channel by itself.
        overlap: of neighbouring tiles in pixels, see `tile_overlaps`.
        batch_size: tiles per call of the model. The last batch is filled up, and images of fewer tiles take the next
            power of two, so that the model is traced for few sizes.
        progress: is called with the tiles done and all tiles, after every batch; for each channel anew where a model
            of 1 channel sees several.
        strength: of the change, from 0 to 1: this share of the output and the rest of the image. For models that do not
            enlarge.

    Returns:
        An array of the image's dtype and shape, `model.upscale` times as high and wide; floats are in [0, 1].

    Example:

    >>> model = keras_recon.models.ConvAutoencoder((32, 32, 3), filters=(8, 16))
    >>> photo = np.zeros((75, 100, 3), "uint8")
    >>> output = keras_recon.reconstruct(model, photo)
    >>> output.shape, output.dtype
    ((75, 100, 3), dtype('uint8'))
    """
    channels = model.image_shape[2]
    check_model(model)
    check(image, channels)
    if channels == 1 < image.shape[2]:
        planes = np.split(image, image.shape[2], axis=2)
        options = (overlap, batch_size, progress, strength)
        return np.concatenate([reconstruct(model, plane, *options) for plane in planes], axis=2)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    check_strength(model, strength)
    sizes = zip(image.shape[:2], model.image_shape[:2], tile_overlaps(model.image_shape[:2], overlap))
    rows, columns = (Axis(*size) for size in sizes)
    total = rows.count * columns.count
    batch_size = min(batch_size, 2 ** (total - 1).bit_length())
    network = by_xla(model) if total >= XLA_MIN_TILES and faster_by_xla(model) else model

    def outputs():
        tiles = cut(image, rows, columns)
        for start in range(0, total, batch_size):
            count = min(batch_size, total - start)
            batch = np.zeros((batch_size, *model.image_shape), "float32")  # gray repeats itself by broadcasting
            batch[:count] = to_float(np.stack([*islice(tiles, count)]))
            changed = network.predict_on_batch(batch)[:count]
            if not np.isfinite(changed).all():  # rounded, they would be black
                raise ValueError("`model` must give finite pixels. Received: some that are not")
            yield from changed if strength == 1 else strength * changed + (1 - strength) * batch[:count].clip(0, 1)
            if progress:
                progress(start + count, total)

    rows_out, columns_out = (axis.scaled(model.upscale) for axis in (rows, columns))
    output = np.empty((rows_out.length, columns_out.length, image.shape[2]), image.dtype)
    top = 0
    for strip in blend(outputs(), rows_out, columns_out):
        strip = strip if channels == image.shape[2] else strip.mean(axis=2, keepdims=True)
        output[top : top + len(strip)] = from_float(strip, image.dtype)
        top += len(strip)
    return output


def check_model(model: Reconstructor):
    """Refuse a masked model, whose tiles overlap, so that what one hides another would copy, and one without tiles."""
    if model.is_masked:
        raise ValueError(
            "`model` must see whole tiles: those of a masked model would show each other what they hide. "
            "Received: a masked model"
        )
    check_size(model)


def check_strength(model: Reconstructor, strength: float):
    """Refuse a strength that is none, or that a model cannot have whose output is larger than its input."""
    if not 0 <= strength <= 1 or strength < 1 < model.upscale:
        expected = "be 1 for a model that enlarges" if model.upscale > 1 else "be from 0 to 1"
        raise ValueError(f"`strength` must {expected}. Received: strength={strength}")


def check(image: np.ndarray, channels: int):
    """Refuse an image that a model of so many channels cannot take."""
    fits = image.ndim == 3 and 0 not in image.shape
    if not fits or not (channels in (1, image.shape[2]) or (image.shape[2], channels) == (1, 3)):
        accepted = {1: "any number of", 3: "1 or 3"}.get(channels, channels)
        raise ValueError(f"`image` must be (height, width, {accepted} channels). Received: shape={image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"`image` must be uint8, uint16 or float. Received: dtype={image.dtype}")


def tile_overlaps(tile: tuple[int, int], overlap: int | None) -> tuple[int, int]:
    """Rows and columns that neighbouring tiles (height, width) share: `overlap`, or a sixth of the tile if None.

    A sixth of 64 pixels is no multiple of a patch: where tiles overlap, their patches have other borders, and the mean
    is better than either.
    """
    if overlap is None:
        return tile[0] // 6, tile[1] // 6
    if not 0 <= overlap <= min(tile) // 2:
        raise ValueError(
            f"`overlap` must be from 0 to half the tile of {tile[0]}x{tile[1]} pixels. Received: overlap={overlap}"
        )
    return overlap, overlap
