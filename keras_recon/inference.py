"""Reconstruct whole photos of any size in tiles, and measure the results against references."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import islice

import keras
import numpy as np
import PIL
import skimage.color

from keras_recon import metrics
from keras_recon.images.pixels import from_float, to_float
from keras_recon.images.tiles import Axis, blend, cut
from keras_recon.models import Reconstructor
from keras_recon.models.image_model import check_size
from keras_recon.version import __version__

XLA_MIN_TILES = 2000  # compiling takes 1 to 2 s, and a tile then takes two thirds of the time
STRIP = 256  # rows of a photo that are measured at once
COLOR_SPACES = {"rgb": "RGB, or gray", "y": "Y of BT.601, from 16/255 to 235/255"}


def reconstruct(
    model: Reconstructor,
    image: np.ndarray,
    overlap: int | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], object] | None = None,
    strength: float = 1.0,
) -> np.ndarray:
    """Reconstruct a whole image of any size, without visible seams.

    The image is cut into overlapping tiles of the model's size, continued by reflection at its borders, and the outputs
    are blended, see `keras_recon.images.tiles`. An image of the model's size is one tile. In memory are input, output,
    a batch of tiles and one row of tiles. On TensorFlow, XLA compiles transformers if there are many tiles, which
    changes pixels by about 1e-5.

    Args:
        model: takes tiles of `model.image_shape`. Some models can change their tile size, see `for_image_shape`.
        image: (height, width, channels) with at least 1x1 pixels. uint8, uint16, or float with black at 0 and white at
            1; noise can exceed this range. A model with 3 channels sees a gray image as RGB, and the mean of its
            outputs is returned. A model with 1 channel is applied to each channel separately.
        overlap: pixels that neighbouring tiles share, see `tile_overlaps`.
        batch_size: tiles per call of the model. The last batch is padded, and images with fewer tiles use the next
            power of two, so that the model is traced for few batch sizes.
        progress: called after every batch with the number of finished tiles and of all tiles. For a model with 1
            channel, the count starts again with each channel.
        strength: from 0 to 1; the result is this share of the output and the rest of the image. Models that upsample
            require 1.

    Returns:
        An array of the image's dtype and channels, `model.upscale` times as high and wide. Floats are in [0, 1].

    Raises:
        ValueError: an argument is invalid, or the model's output is not finite.

    Example:
    >>> model = keras_recon.models.ConvAutoencoder((32, 32, 3), filters=(8, 16))
    >>> photo = np.zeros((75, 100, 3), "uint8")
    >>> output = keras_recon.reconstruct(model, photo)
    >>> output.shape, output.dtype
    ((75, 100, 3), dtype('uint8'))
    """
    channels, tile = model.image_shape[2], model.image_shape[:2]
    check_model(model)
    _check_image(image, channels)
    if channels == 1 < image.shape[2]:
        planes, options = np.split(image, image.shape[2], axis=2), (overlap, batch_size, progress, strength)
        return np.concatenate([reconstruct(model, plane, *options) for plane in planes], axis=2)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    check_strength(model, strength)
    rows, columns = (Axis(*sizes) for sizes in zip(image.shape, tile, tile_overlaps(tile, overlap)))
    total = rows.count * columns.count
    batch_size = min(batch_size, 2 ** (total - 1).bit_length())
    network = model
    if total >= XLA_MIN_TILES and faster_by_xla(model):
        network = _by_xla(model, tuple((variable.path, variable.dtype) for variable in model.variables))

    def outputs():
        tiles = cut(image, rows, columns)
        for start in range(0, total, batch_size):
            count = min(batch_size, total - start)
            batch = np.zeros((batch_size, *model.image_shape), "float32")
            batch[:count] = to_float(np.stack([*islice(tiles, count)]))  # gray is broadcast to all channels
            changed = network.predict_on_batch(batch)[:count]
            if not np.isfinite(changed).all():  # NaN would become black
                raise ValueError("`model` must return finite pixels. Received: NaN or infinity")
            yield from changed if strength == 1 else strength * changed + (1 - strength) * batch[:count].clip(0, 1)
            if progress:
                progress(start + count, total)

    axes = [axis.scaled(model.upscale) for axis in (rows, columns)]
    output, top = np.empty((*(axis.length for axis in axes), image.shape[2]), image.dtype), 0
    for strip in blend(outputs(), *axes):
        strip = strip if channels == image.shape[2] else strip.mean(axis=2, keepdims=True)
        output[top : top + len(strip)] = from_float(strip, image.dtype)
        top += len(strip)
    return output


def check_model(model: Reconstructor):
    """Raise a ValueError for a masked model, and for a model without a tile size."""
    if model.is_masked:
        raise ValueError(
            "`model` must see whole tiles: overlapping tiles would show a masked model the patches that it hides. "
            "Received: a masked model"
        )
    check_size(model)


def check_strength(model: Reconstructor, strength: float):
    """Raise a ValueError unless `strength` is from 0 to 1, or 1 for a model that upsamples."""
    if not 0 <= strength <= 1 or strength < 1 < model.upscale:
        expected = "be 1 for a model that enlarges" if model.upscale > 1 else "be from 0 to 1"
        raise ValueError(f"`strength` must {expected}. Received: strength={strength}")


def tile_overlaps(tile: tuple[int, int], overlap: int | None) -> tuple[int, int]:
    """Return the rows and columns that neighbouring tiles (height, width) share: `overlap`, or a sixth of the tile.

    A sixth of 64 pixels is no multiple of a patch. Patches of neighbouring tiles then have different borders, and their
    mean is better than either.
    """
    if overlap is None:
        return tile[0] // 6, tile[1] // 6
    if not 0 <= overlap <= min(tile) // 2:
        raise ValueError(f"`overlap` must be from 0 to half the tile, {tile[0]}x{tile[1]} pixels. Received: {overlap=}")
    return overlap, overlap


def _check_image(image, channels):
    """Raise a ValueError for an image that a model with `channels` channels cannot take."""
    fits = image.ndim == 3 and 0 not in image.shape
    if not fits or not (channels in (1, image.shape[2]) or (image.shape[2], channels) == (1, 3)):
        accepted = {1: "any number of", 3: "1 or 3"}.get(channels, channels)
        raise ValueError(f"`image` must be (height, width, {accepted} channels). Received: shape={image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"`image` must be uint8, uint16 or float. Received: dtype={image.dtype}")


def faster_by_xla(model: keras.Model) -> bool:
    """Return whether XLA speeds up many calls of a model on TensorFlow, as it does for transformers in float32.

    On a CPU, bfloat16 products and convolutions are faster without XLA.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return on_tensorflow and model.compute_dtype == "float32" and not model.fully_convolutional


@lru_cache(maxsize=1)  # not an attribute of the model, which Keras would save
def _by_xla(model, variables):  # LoRA and quantisation change the variables, and need a new compilation
    return _CompiledByXLA(model)


class _CompiledByXLA(keras.Model):
    """A model with the weights of another, for inference only: XLA compiles its `predict_on_batch`."""

    def __init__(self, model: keras.Model):
        super().__init__(name="compiled_by_xla")
        self.model, self.jit_compile, self.built = model, True, True

    def call(self, images):
        return self.model(images, training=False)


@dataclass(frozen=True)
class PhotoProtocol:
    """How photos are reconstructed and measured.

    Args:
        degradation: `degradation(image, rng)` of float images, whose result the model gets; None for the photo itself.
        seed: of the degradation, together with the photo's name.
        overlap: see `keras_recon.reconstruct`.
        batch_size: see `keras_recon.reconstruct`.
        strength: see `keras_recon.reconstruct`.
        quantize: whether the output is measured after rounding to the photo's dtype, as in a file, or as float32.
        color_space: see `photo_scores`.
        border: see `photo_scores`.

    Example:
    >>> model = keras_recon.models.ConvAutoencoder((32, 32, 3), filters=(8, 16))
    >>> protocol = PhotoProtocol(degradation=keras_recon.degradations.GaussianNoise(25), color_space="y")
    >>> photo = np.full((75, 100, 3), 128, "uint8")
    >>> output = protocol.output(model, photo, name="wall")
    >>> sorted(protocol.scores(photo, output))
    ['psnr', 'ssim']
    """

    degradation: Callable | None = None
    seed: int = 0
    overlap: int | None = None
    batch_size: int = 64
    strength: float = 1.0
    quantize: bool = True
    color_space: str = "rgb"
    border: int = 0

    def check(self, model: Reconstructor):
        """Raise a ValueError for a model whose outputs this protocol cannot measure."""
        degradation, channels = self.degradation, model.image_shape[2]
        if degradation and model.upscale > 1:  # the output is larger than the photo
            raise ValueError(f"`degradation` must be None for a model that enlarges. Received: {degradation=!s}")
        if self.color_space == "y" and channels > 3:
            raise ValueError(f"`color_space` must be 'rgb' for {channels} channels. Received: color_space='y'")

    def output(self, model: Reconstructor, photo: np.ndarray, name: str, progress: Callable | None = None):
        """Reconstruct a photo, uint8 or uint16 (height, width, channels), in its dtype, or in float32."""
        inputs = photo if self.quantize and not self.degradation else to_float(photo)
        if self.degradation:
            inputs = self.degradation(inputs, np.random.default_rng((self.seed, zlib.crc32(name.encode()))))
        output = reconstruct(model, inputs, self.overlap, self.batch_size, progress, self.strength)
        return in_bits_of(photo, output) if self.quantize else output

    def scores(self, reference: np.ndarray, output: np.ndarray) -> dict[str, float]:
        """Return the PSNR and SSIM of an `output`."""
        return photo_scores(reference, output, self.color_space, self.border)

    def fingerprint(self, model: Reconstructor) -> dict:
        """Return everything that the scores depend on besides weights and photos."""
        backend = keras.backend.backend()
        packages = (keras, np, PIL, import_module(backend))
        return {
            "crop": f"whole photos, {self.border} pixels left out at each side",
            "range": "[0, 1], a peak of 1",
            "pixels": "rounded to the bits of the photo" if self.quantize else "float32, clipped, not quantised",
            "file compression": "not included: measured before the output is encoded",
            "color space": COLOR_SPACES[self.color_space],
            "average": "per photo, then the mean over photos",
            "ssim": "11x11 Gaussian window of standard deviation 1.5, where it fits",
            "degradation": self.degradation and str(self.degradation),
            "seed": self.seed if self.degradation else None,
            "tile": model.image_shape[:2],
            "overlap": tile_overlaps(model.image_shape[:2], self.overlap),
            "batch_size": self.batch_size,
            "strength": self.strength,
            "backend": backend,
            "device": str(model.weights[0].value.device),
            "versions": {"keras_recon": __version__} | {package.__name__: package.__version__ for package in packages},
        }


def in_bits_of(photo: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Convert an output to the dtype of the photo; floats are rounded."""
    return output if output.dtype == photo.dtype else from_float(output, photo.dtype)


def photo_scores(reference: np.ndarray, output: np.ndarray, color_space="rgb", border: int = 0) -> dict[str, float]:
    """Return the PSNR in dB and, from 11x11 pixels on, the SSIM of a photo, as defined in `keras_recon.metrics`.

    Args:
        reference: (height, width, 1 or 3), uint8, uint16, or float in [0, 1].
        output: like `reference`. If both are equal, the PSNR is 100 dB.
        color_space: `"rgb"` for all channels, or `"y"` for the luma of ITU-R BT.601 from 16/255 to 235/255, as is usual
            in super-resolution. The luma of a gray photo is the photo.
        border: pixels at each side that are left out.
    """
    if reference.shape != output.shape:
        raise ValueError(f"`output` must have the shape {reference.shape}. Received: output.shape={output.shape}")
    if color_space not in COLOR_SPACES:
        raise ValueError(f"`color_space` must be one of {[*COLOR_SPACES]}. Received: color_space={color_space!r}")
    height, width = (side - 2 * border for side in reference.shape[:2])
    if border < 0 or min(height, width) < 1:
        raise ValueError(f"`border` must leave pixels of {reference.shape[:2]}. Received: border={border}")
    windows = metrics.SSIM_MIN_SIZE - 1  # further rows that the windows of a strip need
    errors, similarities = [], []
    for top in range(border, border + height, STRIP):
        bottom = min(top + STRIP + windows, border + height)
        pair = [_values(image[top:bottom, border : border + width], color_space) for image in (reference, output)]
        errors.append(np.square(pair[0][:STRIP] - pair[1][:STRIP]).sum(dtype="float64"))
        positions = bottom - top - windows
        if positions > 0 and width > windows:
            similarities.append(positions * float(metrics.ssim(*(values[None] for values in pair))[0]))
    values = height * width * pair[0].shape[2]
    scores = {"psnr": -10 * math.log10(max(sum(errors) / values, 1e-10))}
    if similarities:
        scores["ssim"] = sum(similarities) / (height - windows)
    return scores


def error_levels(reference: np.ndarray, output: np.ndarray, gain: float = 5.0) -> np.ndarray:
    """Return the absolute error times `gain`, averaged over channels and clipped to 1, as uint8 (height, width)."""
    levels = np.empty(reference.shape[:2], "uint8")
    for top in range(0, len(levels), STRIP):
        pair = [to_float(image[top : top + STRIP]) for image in (reference, output)]
        levels[top : top + STRIP] = np.rint(255 * np.minimum(gain * np.abs(pair[0] - pair[1]).mean(axis=2), 1.0))
    return levels


def _values(image, color_space):
    image = to_float(image)
    if color_space == "rgb" or image.shape[2] == 1:
        return image
    return (skimage.color.rgb2ycbcr(image)[..., :1] / 255).astype("float32")
