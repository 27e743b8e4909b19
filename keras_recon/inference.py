"""XLA where Keras does not use it on its own: with TensorFlow on a CPU."""

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


def faster_by_xla(model: keras.Model) -> bool:
    """Whether TensorFlow should compile many calls of a reconstructor by XLA: transformers in float32.

    A CPU's bfloat16 products, and its convolutions, are faster without.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return on_tensorflow and model.compute_dtype == "float32" and not model.fully_convolutional


def by_xla(model: keras.Model) -> keras.Model:
    """A model of the same weights whose `predict_on_batch` is compiled by XLA, in seconds for each size of batches."""
    return _by_xla(model, tuple((variable.path, variable.dtype) for variable in model.variables))


@lru_cache(maxsize=1)  # no attribute of the model, which Keras would save with it
def _by_xla(model, variables):  # others after LoRA or a quantisation: then it is compiled anew
    compiled = InferenceOnly(model)
    compiled.jit_compile = True
    return compiled


class InferenceOnly(keras.Model):
    """What a model answers outside of training."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model
        self.built = True

    def call(self, images):
        return self.model(images, training=False)


@dataclass(frozen=True)
class PhotoProtocol:
    """What is done with every photo.

    Args:
        degradation: `degradation(image, rng)` of float images, which the model gets in place of the photo; or None.
        seed: of the degradation, together with the photo's name.
        overlap, batch_size, strength: see `keras_recon.reconstruct`.
        quantize: whether the output is measured in the bits of the photo, as a file has it, not in float32.
        color_space, border: see `photo_scores`.

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
        """Refuse a model whose outputs could not be measured."""
        if self.degradation and model.upscale > 1:  # the photo would be smaller than what is made of it
            raise ValueError(
                f"`degradation` must be None for a model that enlarges. Received: degradation={self.degradation}"
            )
        if self.color_space == "y" and model.image_shape[2] > 3:
            raise ValueError(
                f"`color_space` must be 'rgb' for {model.image_shape[2]} channels. Received: color_space='y'"
            )

    def output(self, model: Reconstructor, photo: np.ndarray, name: str, progress: Callable | None = None):
        """What the model makes of a photo, uint8 or uint16 (height, width, channels): of that type, or float32."""
        inputs = photo if self.quantize and not self.degradation else to_float(photo)
        if self.degradation:
            inputs = self.degradation(inputs, np.random.default_rng((self.seed, zlib.crc32(name.encode()))))
        output = reconstruct(model, inputs, self.overlap, self.batch_size, progress, self.strength)
        return in_bits_of(photo, output) if self.quantize else output

    def scores(self, reference: np.ndarray, output: np.ndarray) -> dict[str, float]:
        """PSNR and SSIM of an `output`."""
        return photo_scores(reference, output, self.color_space, self.border)

    def fingerprint(self, model: Reconstructor) -> dict:
        """What the scores depend on, beside model and photos."""
        backend = keras.backend.backend()
        packages = (keras, np, PIL, import_module(backend))
        versions = {package.__name__: package.__version__ for package in packages}
        return {
            "crop": f"whole photos, {self.border} pixels left out at each side",
            "range": "[0, 1], a peak of 1",
            "pixels": "rounded to the bits of the photo" if self.quantize else "float32, clipped, not quantised",
            "file compression": "not included: measured before the output is encoded",
            "color space": {"rgb": "RGB, or gray", "y": "Y of BT.601, from 16/255 to 235/255"}[self.color_space],
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
            "versions": {"keras_recon": __version__, **versions},
        }


def in_bits_of(photo: np.ndarray, output: np.ndarray) -> np.ndarray:
    """An output in the type of the photo: rounded, if it is float."""
    return output if output.dtype == photo.dtype else from_float(output, photo.dtype)


COLOR_SPACES = ("rgb", "y")
ROWS = 256


def photo_scores(
    reference: np.ndarray, output: np.ndarray, color_space: str = "rgb", border: int = 0
) -> dict[str, float]:
    """PSNR in dB and, from 11x11 pixels on, SSIM of a photo, as in `keras_recon.metrics`: equal photos get 100 dB.

    Args:
        reference, output: (height, width, 1 or 3), uint8, uint16, or float in [0, 1].
        color_space: `"rgb"`, all channels as they are, or `"y"`, the luma of ITU-R BT.601 from 16/255 to 235/255, as is
            usual in super-resolution. Gray is its own luma.
        border: pixels at each side that are left out.
    """
    if reference.shape != output.shape:
        raise ValueError(
            f"`output` must be of the reference's shape {reference.shape}. Received: output.shape={output.shape}"
        )
    if color_space not in COLOR_SPACES:
        raise ValueError(f"`color_space` must be one of {COLOR_SPACES}. Received: color_space={color_space!r}")
    height, width = (side - 2 * border for side in reference.shape[:2])
    if border < 0 or min(height, width) < 1:
        raise ValueError(f"`border` must leave pixels of {reference.shape[:2]}. Received: border={border}")
    windows = metrics.SSIM_MIN_SIZE - 1  # rows more that the windows of a strip need
    errors, similarities = [], []
    for top in range(border, border + height, ROWS):
        bottom = min(top + ROWS + windows, border + height)
        pair = [_values(image[top:bottom, border : border + width], color_space) for image in (reference, output)]
        errors.append(np.square(pair[0][:ROWS] - pair[1][:ROWS]).sum(dtype="float64"))
        positions = bottom - top - windows
        if positions > 0 and width > windows:
            similarities.append(positions * float(metrics.ssim(*(values[None] for values in pair))[0]))
    values = height * width * pair[0].shape[2]
    scores = {"psnr": -10 * math.log10(max(sum(errors) / values, 1e-10))}
    if similarities:
        scores["ssim"] = sum(similarities) / (height - windows)
    return scores


def error_levels(reference: np.ndarray, output: np.ndarray, gain: float = 5.0) -> np.ndarray:
    """The absolute error, mean over channels, times `gain`, as uint8 (height, width) of [0, 1]."""
    levels = np.empty(reference.shape[:2], "uint8")
    for top in range(0, len(levels), ROWS):
        pair = [to_float(image[top : top + ROWS]) for image in (reference, output)]
        error = gain * np.abs(pair[0] - pair[1]).mean(axis=2)
        levels[top : top + ROWS] = np.rint(255 * np.minimum(error, 1.0))
    return levels


def _values(image, color_space):
    image = to_float(image)
    if color_space == "rgb" or image.shape[2] == 1:
        return image
    return (skimage.color.rgb2ycbcr(image)[..., :1] / 255).astype("float32")


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
