import logging
from pathlib import Path

import numpy as np

from keras_recon.data.photos import Photos, read_photo, resized
from keras_recon.images.files import BadImage
from keras_recon.images.pixels import from_float, to_float
from keras_recon.images.resize import resize_bicubic

logger = logging.getLogger(__name__)


class PairedPhotos(Photos):
    """Photos that are degraded and clean already: of each, the parts are a degraded and a clean one.

    `photos[i]` has the channels of the degraded one, then those of the clean one: where that is f times as high and
    wide, f * f pixels in the place of one.

    Args:
        pairs: the files, (degraded, clean), by the name of the pair.
        channels: 1, 3 or 4.
        upscale: f.
        on_bad: see `Photos`.
    """

    def __init__(self, pairs: dict[str, tuple[Path, Path]], channels: int, upscale: int, on_bad: str = "error"):
        paths = {name: clean for name, (_, clean) in pairs.items()}
        super().__init__([*pairs], self._read, on_bad=on_bad, paths=paths)
        self.pairs = pairs
        self.channels = channels
        self.upscale = upscale

    def files(self, key):
        return self.pairs[key]

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint} paired"

    def parts(self, photo):
        return photo[..., : self.channels], _depth_to_space(photo[..., self.channels :], self.upscale)

    def resize(self, photo, size):
        parts = zip(self.parts(photo), self.factors)
        return self._stacked(*(resized(part, [factor * side for side in size]) for part, factor in parts))

    @property
    def factors(self) -> tuple[int, ...]:
        return 1, self.upscale

    def for_upscale(self, upscale):
        if upscale == self.upscale:
            return self
        if upscale > 1:
            return super().for_upscale(upscale)
        logger.warning("the inputs are enlarged %s times by bicubic interpolation, as the model does not", self.upscale)
        enlarged = PairedPhotos(self.pairs, self.channels, 1, self.on_bad)
        enlarged.keys, enlarged.paths, enlarged.bad = self.keys, self.paths, self.bad
        indices = {name: i for i, name in enumerate(self.keys)}

        def read(name):
            degraded, clean = self.parts(self[indices[name]])
            degraded = from_float(resize_bicubic(to_float(degraded), clean.shape[:2]), np.uint8)
            return np.concatenate([degraded, clean], axis=2)

        enlarged.read = read
        return enlarged

    def _read(self, name):
        degraded, clean = (read_photo(path, self.channels) for path in self.pairs[name])
        if clean.shape[:2] != tuple(self.upscale * side for side in degraded.shape[:2]):
            raise BadImage(misfit(degraded.shape, clean.shape), name)
        return self._stacked(degraded, clean)

    def _stacked(self, degraded, clean):
        return np.concatenate([degraded, _space_to_depth(clean, self.upscale)], axis=2)


def misfit(degraded: tuple, clean: tuple) -> str:
    """What is wrong with the shapes of a pair."""
    (height, width), (large_height, large_width) = degraded[:2], clean[:2]
    return f"the target has {large_height}x{large_width} pixels for {height}x{width} (height x width)"


def _space_to_depth(image, factor):
    """(height * f, width * f, channels) to (height, width, f * f * channels)."""
    height, width, channels = image.shape[0] // factor, image.shape[1] // factor, image.shape[2]
    blocks = image.reshape(height, factor, width, factor, channels).swapaxes(1, 2)
    return blocks.reshape(height, width, factor * factor * channels)


def _depth_to_space(images, factor):
    """The inverse, of one image or of several."""
    *several, height, width, depth = images.shape
    blocks = images.reshape(*several, height, width, factor, factor, depth // factor**2).swapaxes(-4, -3)
    return blocks.reshape(*several, height * factor, width * factor, depth // factor**2)
