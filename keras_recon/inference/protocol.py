"""How whole photos are reconstructed and measured, with everything that the figures depend on."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import keras
import numpy as np
import PIL

from keras_recon.images.pixels import from_float, to_float
from keras_recon.inference.reconstruct import reconstruct, tile_overlaps
from keras_recon.inference.scores import photo_scores
from keras_recon.models import Reconstructor
from keras_recon.version import __version__


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
