"""Degradations of images: noise, blur, masks and compression, as classes and as texts such as `"blur:1.6+noise:5"`."""

import dataclasses
import re

from keras_recon.degradations.base import Compose, Degradation, degrade
from keras_recon.degradations.blur import Downsample, GaussianBlur, MotionBlur
from keras_recon.degradations.compression import JPEG, Grayscale
from keras_recon.degradations.masks import BlockMask, FreeFormMask, GridMask, Mask, PatchMask
from keras_recon.degradations.noise import GaussianNoise, PoissonGaussianNoise

__all__ = [
    "JPEG",
    "BlockMask",
    "Compose",
    "Degradation",
    "Downsample",
    "FreeFormMask",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "GridMask",
    "Mask",
    "MotionBlur",
    "PatchMask",
    "PoissonGaussianNoise",
    "degrade",
    "from_string",
    "get",
]
# The classes that a text can name.
CLASSES = (GaussianNoise, PoissonGaussianNoise, PatchMask, BlockMask, FreeFormMask, GaussianBlur, MotionBlur)
CLASSES += (Downsample, JPEG, Grayscale)
NUMBER = r"(\d+\.?\d*|\.\d+)"


def from_string(text: str) -> Degradation:
    """Create a degradation from its name and arguments, or several that are applied in order.

    Args:
        text: terms joined by `"+"`, such as `"blur:1.6+noise:5"`. A term is the `name` of a class and its arguments:
            `"noise:25"`, `"noise:0-50"`, `"poisson:30"`, `"poisson:30:5"`, `"mask:0.75"`, `"mask:0.75:16"`,
            `"block:0.25"`, `"strokes:0.2"`, `"blur:1.6"`, `"motion:9"`, `"motion:9:45"`, `"downsample:4"`, `"jpeg:10"`
            or `"gray"`.

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
    """Create a degradation from its text, see `from_string`. Degradations and None are returned unchanged.

    Example:
    >>> print(keras_recon.degradations.get("noise:25"))
    noise:25
    >>> keras_recon.degradations.get(None) is None
    True
    """
    return from_string(identifier) if isinstance(identifier, str) else identifier


def _from_term(term):
    """Create one degradation; None if the name, the number of arguments or an argument is invalid."""
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
