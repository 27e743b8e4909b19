import dataclasses
import re

from keras_recon.degradations.base import Compose, Degradation
from keras_recon.degradations.blur import GaussianBlur, MotionBlur
from keras_recon.degradations.masks import BlockMask, FreeFormMask, PatchMask
from keras_recon.degradations.noise import GaussianNoise, PoissonGaussianNoise
from keras_recon.degradations.reduction import JPEG, Downsample, Grayscale

CLASSES = (
    GaussianNoise,
    PoissonGaussianNoise,
    PatchMask,
    BlockMask,
    FreeFormMask,
    GaussianBlur,
    MotionBlur,
    Downsample,
    JPEG,
    Grayscale,
)
NUMBER = r"(\d+\.?\d*|\.\d+)"


def from_string(text: str) -> Degradation:
    """A degradation by name and numbers, or several in their order: `"blur:1.6+noise:5"`.

    `"noise:25"`, `"noise:0-50"`, `"poisson:30"`, `"poisson:30:5"`, `"mask:0.75"`, `"mask:0.75:16"`, `"block:0.25"`,
    `"strokes:0.2"`, `"blur:1.6"`, `"motion:9"`, `"motion:9:45"`, `"downsample:4"`, `"jpeg:10"`, `"gray"`: the numbers
    are the arguments of the class with that `name`.

    Example:

    >>> keras_recon.degradations.from_string("noise:25")
    GaussianNoise(sigma=25)
    >>> keras_recon.degradations.from_string("blur:1.6+jpeg:30").degradations
    (GaussianBlur(sigma=1.6), JPEG(quality=30))
    """
    degradations = [_from_term(term.strip()) for term in text.split("+")]
    if None in degradations:
        raise ValueError(
            f"`degradation` must be some of {', '.join(map(_usage, CLASSES))}, joined by '+'. "
            f"Received: degradation={text!r}"
        )
    return degradations[0] if len(degradations) == 1 else Compose(tuple(degradations))


def get(identifier: str | Degradation | None) -> Degradation | None:
    """A degradation from its text, see `from_string`; a degradation and None are given back.

    Example:

    >>> print(keras_recon.degradations.get("noise:25"))
    noise:25
    >>> keras_recon.degradations.get(None) is None
    True
    """
    return from_string(identifier) if isinstance(identifier, str) else identifier


def _from_term(term):
    """The degradation; None where the name, the number of arguments or a number is wrong."""
    name, *values = term.split(":")
    kind = {kind.name: kind for kind in CLASSES}.get(name)
    if not kind or not all(re.fullmatch(f"{NUMBER}(-{NUMBER})?", value) for value in values):
        return None
    fields = dataclasses.fields(kind)
    required = sum(field.default is dataclasses.MISSING for field in fields)
    return kind(*map(_value, values)) if required <= len(values) <= len(fields) else None


def _value(text):
    numbers = tuple(int(number) if number.isdigit() else float(number) for number in text.split("-"))
    return numbers if len(numbers) > 1 else numbers[0]


def _usage(kind):
    fields = dataclasses.fields(kind)
    texts = (f":{f.name.upper()}" if f.default is dataclasses.MISSING else f"[:{f.name.upper()}]" for f in fields)
    return kind.name + "".join(texts)
