"""The base class of degradations, their composition, and degradation of many images with one seed."""

import dataclasses
import math
import numbers
from collections.abc import Iterable
from itertools import count
from typing import ClassVar

import numpy as np

# The step of NumPy's `jumped`, which creates a generator for each image: advancing one generator is 5 times as fast.
JUMP = 210306068529402873165736369884012333109


class Degradation:
    """A degradation of images of any size: `degradation(image, rng)`.

    The image is float (height, width, channels), and the result is float32 of the same shape. Both are in [0, 1],
    unless a degradation documents otherwise. All randomness comes from `rng`, a NumPy generator. Degradations use
    NumPy, SciPy, OpenCV and Pillow, so that a seed gives the same pixels on every backend.

    Subclasses are frozen dataclasses with a `name` that implement `apply`, from float32 to float32. `str()` of a
    degradation is the text from which `from_string` creates it.

    Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Fog(keras_recon.degradations.Degradation):
    ...     name = "fog"
    ...     density: float
    ...
    ...     def apply(self, image, rng):
    ...         return image + np.float32(self.density) * (1 - image)
    >>> foggy = Fog(0.5)(np.zeros((8, 8, 3), "float32"), np.random.default_rng(0))
    >>> str(Fog(0.5)), float(foggy.max())
    ('fog:0.5', 0.5)
    """

    name: ClassVar[str]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if image.ndim != 3 or not np.issubdtype(image.dtype, np.floating):
            raise ValueError(
                "`image` must be float (height, width, channels), black 0 and white 1. "
                f"Received: {image.dtype} of shape {image.shape}"
            )
        return self.apply(image.astype("float32", copy=False), rng)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade a float32 image (height, width, channels)."""
        raise NotImplementedError

    def batch(self, images: np.ndarray, rngs: Iterable[np.random.Generator]) -> np.ndarray:
        """Degrade float32 images (images, height, width, channels), each with its generator.

        The result equals one call per image; a subclass can be faster. An item of `rngs` is valid until the next one
        is taken.
        """
        return np.stack([self(image, rng) for image, rng in zip(images, rngs)])

    def __str__(self):
        values = [(getattr(self, field.name), field.default) for field in dataclasses.fields(self)]
        while values and values[-1][0] == values[-1][1]:
            values.pop()
        return ":".join([self.name, *(_text(value) for value, _ in values)])


@dataclasses.dataclass(frozen=True)
class Compose(Degradation):
    """Several degradations, applied in order with one generator.

    Args:
        degradations: a tuple of degradations.

    Example:
    >>> blur, noise = keras_recon.degradations.GaussianBlur(1.6), keras_recon.degradations.GaussianNoise(5)
    >>> print(keras_recon.degradations.Compose((blur, noise)))
    blur:1.6+noise:5
    """

    degradations: tuple[Degradation, ...]

    def apply(self, image, rng):
        for degradation in self.degradations:
            image = degradation(image, rng)
        return image

    def __str__(self):
        return "+".join(map(str, self.degradations))


def degrade(
    images: np.ndarray, degradation: Degradation | None, stream: tuple[int, ...] = (0, 3), start: int = 0
) -> np.ndarray:
    """Degrade images reproducibly: an image's random numbers depend on `stream` and its index only.

    Args:
        images: float (images, height, width, channels).
        degradation: the degradation; None returns the images unchanged.
        stream: the seed, which distinguishes one use of random numbers from others. Training uses streams with 0, 1 or
            2 as the second number, see `RandomCrops` and `RandomPairs`.
        start: index of the first image.

    Example:
    >>> images = np.full((2, 32, 48, 3), 0.5, "float32")
    >>> noisy = keras_recon.degradations.degrade(images, keras_recon.degradations.GaussianNoise(25))
    >>> noisy.shape, round(255 * float(noisy.std()))
    ((2, 32, 48, 3), 25)
    """
    if degradation is None:
        return images
    return degradation.batch(images.astype("float32", copy=False), _generators(stream, start))


def _generators(stream, start):
    """Yield `PCG64DXSM(stream).jumped(index)` for each index from `start` on: one generator that is advanced."""
    bits = np.random.PCG64DXSM(stream)
    generator, state = np.random.Generator(bits), bits.state
    for index in count(start):
        bits.state = state
        bits.advance(index * JUMP % 2**128)
        yield generator


def require(valid: bool, name: str, expectation: str, value):
    """Raise a ValueError about the argument `name` unless it is valid."""
    if not valid:
        raise ValueError(f"`{name}` must be {expectation}. Received: {name}={value!r}")


def is_number(value, low: float, high: float = math.inf, kind: type = numbers.Real) -> bool:
    """Return whether `value` is a finite number of type `kind` from `low` to `high`."""
    return isinstance(value, kind) and math.isfinite(value) and low <= value <= high


def _text(value) -> str:
    return "-".join(np.format_float_positional(v, trim="-") for v in np.atleast_1d(value))
