"""Rows of a comparison that are no models: the degraded input, and codecs at as many bytes as the best model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from keras_recon.degradations import Degradation
from keras_recon.evaluation.codecs import CODECS, at_bytes, transmit
from keras_recon.evaluation.scores import evaluate


@dataclass(frozen=True)
class Reference:
    """A row's name, columns, and the sentence that they need.

    Attributes:
        rate: quality against bytes, dictionaries with `quality`, `bytes` and `psnr`.
        reconstruct: from images to what the row is of; None where there is nothing.
    """

    name: str
    row: dict
    remark: str
    rate: list[dict] = field(default_factory=list)
    reconstruct: Callable | None = None


def degraded_input(batches: list, degradation: Degradation | str) -> Reference:
    """The degraded images of (degraded, clean) batches themselves, not clipped."""
    remark = f"{', '.join(CODECS)}: left out, as they do not undo {degradation}."
    return Reference("input", evaluate(_as_it_is, batches), remark, reconstruct=_as_it_is)


def codec_within(name: str, images: np.ndarray, batches: list, budget: float, best: str) -> Reference:
    """A codec of `CODECS` at its greatest quality within a budget of bytes per image, those of the row `best`."""
    if name == "jpeg" and images.shape[-1] == 4:
        return Reference(name, {}, "jpeg: it has no fourth channel.")
    coded, curve = at_bytes(name, images, budget)
    rate = [point._asdict() for point in curve]
    if coded is None:
        row = {"bytes": round(curve[0].bytes)}
        return Reference(name, row, f"{name}: needs more than the bytes of {best} even at its lowest quality.", rate)
    decode = partial(_transmitted, codec=name, quality=coded.quality)
    scores = evaluate(decode, batches)
    row = {**scores, "coded psnr": scores["psnr"], "bytes": round(coded.bytes), "quality": coded.quality}
    remark = f"{name}: quality {coded.quality}, the greatest within the bytes of {best}."
    return Reference(name, row, remark, rate, decode)


def _as_it_is(images):
    return images


def _transmitted(images, codec, quality):
    return transmit(images, codec, quality)[0]
