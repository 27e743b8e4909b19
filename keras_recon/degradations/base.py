import dataclasses
import math
import numbers
from collections.abc import Iterable
from itertools import count
from typing import ClassVar

import numpy as np

JUMP = 210306068529402873165736369884012333109  # numbers, as of NumPy's `jumped`: a fifth of the time of new generators


class Degradation:
    """What befalls an image: `degradation(image, rng)`, float (height, width, channels) of any size to float32.

    Images are in [0, 1] where no degradation says otherwise. Everything random comes from `rng`. It is NumPy, SciPy,
    OpenCV and Pillow, so that one seed gives the same pixels on every backend. Subclasses are frozen dataclasses that
    implement `apply`, float32 in and out; `str()` of one is what `from_string` makes it of.

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
        raise NotImplementedError

    def batch(self, images: np.ndarray, rngs: Iterable[np.random.Generator]) -> np.ndarray:
        """Of float32 images (images, height, width, channels), each by its generator: as calls, one after another.

        A subclass may do it faster. A generator is that of its image until the next one is taken.
        """
        return np.stack([self(image, rng) for image, rng in zip(images, rngs)])

    def __str__(self):
        values = [(getattr(self, field.name), field.default) for field in dataclasses.fields(self)]
        while values and values[-1][0] == values[-1][1]:
            values.pop()
        return ":".join([self.name, *(_text(value) for value, _ in values)])


@dataclasses.dataclass(frozen=True)
class Compose(Degradation):
    """One degradation after the other; each goes on with the generator as the one before left it.

    Args:
        degradations: in their order.

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
    """Images (images, height, width, channels), each degraded by its index: the same at every call.

    None leaves them as they are.

    Args:
        images, degradation: see above.
        stream: tells the random numbers of one use from those of others, with the index. Those of training have 0 to 2
            as the second number, see `RandomCrops` and `RandomPairs`.
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
    """Endlessly the generators of images, `PCG64DXSM(stream).jumped(index)`, which are one, moved on."""
    bits = np.random.PCG64DXSM(stream)
    generator, state = np.random.Generator(bits), bits.state
    for index in count(start):
        bits.state = state
        bits.advance(index * JUMP % 2**128)
        yield generator


def require(valid: bool, name: str, expectation: str, value):
    """A ValueError about the argument `name` unless it is valid."""
    if not valid:
        raise ValueError(f"`{name}` must be {expectation}. Received: {name}={value!r}")


def is_number(value, low: float, high: float = math.inf, kind: type = numbers.Real) -> bool:
    """Whether `value` is a finite number of `kind`, from `low` to `high`."""
    return isinstance(value, kind) and math.isfinite(value) and low <= value <= high


def _text(value) -> str:
    return "-".join(np.format_float_positional(v, trim="-") for v in np.atleast_1d(value))
