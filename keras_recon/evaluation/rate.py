"""JPEG, WebP and AVIF at as many bytes as models need, without headers, which models have none of either."""

import io
import struct
from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from keras import ops
from PIL import Image, features
from scipy.interpolate import PchipInterpolator

from keras_recon import metrics
from keras_recon.models import Reconstructor

# With Pillow's options; the default of JPEG and AVIF is 4:2:0 chroma. Not every Pillow has AVIF.
CODECS = {"jpeg": {}, "webp": {"method": 6}, **({"avif": {}} if features.check("avif") else {})}
CURVE_QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
START_OF_SCAN = 0xDA
# The bytes before the data: tags, dimensions (RFC 6386, 9.1); the alpha chunk's method (WebP Container Specification).
WEBP_HEADERS = {b"VP8 ": 10, b"ALPH": 1}
FRAME = 6  # the type of an open bitstream unit of AV1 (AV1 Bitstream Specification, 5.3)


def transmit(images: np.ndarray, codec: str, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (images, height, width, channels) in [0, 1] through a codec of `CODECS`: decoded images, bytes of each.

    The bytes are those of the coded data, see `payload`.
    """

    def through(image):
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        file = io.BytesIO()
        picture.save(file, codec, quality=quality, **CODECS[codec])
        with Image.open(file) as received:
            decoded = np.asarray(received.convert(picture.mode)).reshape(image.shape)
        return decoded, payload(file.getvalue())

    with ThreadPoolExecutor() as threads:  # Pillow codes without Python's lock
        decoded, sizes = zip(*threads.map(through, np.rint(ops.convert_to_numpy(images) * 255).astype("uint8")))
    return np.stack(decoded).astype("float32") / 255, np.array(sizes)


def payload(file: bytes) -> int:
    """Bytes of a JPEG, lossy WebP or AVIF file that depend on the image's content.

    Of a baseline JPEG the entropy-coded data; sender and receiver agree on the standard Huffman tables and on a
    quality. Of WebP the VP8 data with the probability tables in it, and the alpha channel's; of AVIF the frames of AV1.
    """
    if file[4:8] == b"ftyp":
        start = file.index(b"mdat") + 4  # the last box
        return sum(size for kind, size in _av1_units(file[start:]) if kind == FRAME)
    if file[:4] == b"RIFF":
        chunks, position = 0, 12
        while position < len(file):
            name, size = struct.unpack_from("<4sI", file, position)
            chunks += size - WEBP_HEADERS[name] if name in WEBP_HEADERS else 0
            position += 8 + size + size % 2
        return chunks
    position = 2
    while True:
        marker, size = struct.unpack_from(">xBH", file, position)
        position += 2 + size
        if marker == START_OF_SCAN:
            return len(file) - position - 2  # the end of the image is a marker too


def _av1_units(data):
    """Type and bytes of each open bitstream unit, without their headers."""
    position = 0
    while position < len(data):
        kind, extended = data[position] >> 3 & 15, data[position] >> 2 & 1
        position, size, shift = position + 1 + extended, 0, 0
        while True:  # LEB128
            byte = data[position]
            position, size, shift = position + 1, size | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        yield kind, size
        position += size


class Coded(NamedTuple):
    """A codec at a quality: means over images of the bytes and of the PSNR in dB."""

    quality: int
    bytes: float
    psnr: float


def at_bytes(codec: str, images: np.ndarray, budget: float) -> tuple[Coded | None, list[Coded]]:
    """The greatest quality, from 1 to 100, at which `codec` needs at most `budget` mean bytes per image.

    Returns:
        It, or None if the lowest quality needs more, and the curve over qualities up to twice the budget.
    """

    @cache
    def code(quality):
        decoded, sizes = transmit(images, codec, quality)
        psnr = ops.convert_to_numpy(metrics.psnr(images, decoded))
        return Coded(quality, float(sizes.mean()), float(psnr.mean(dtype="float64")))

    within = bisect_right(range(1, 101), budget, key=lambda quality: code(quality).bytes)
    curve = map(code, sorted({*CURVE_QUALITIES, within} - {0}))
    return code(within) if within else None, list(takewhile(lambda c: c.quality == 1 or c.bytes <= 2 * budget, curve))


STEPS = (2, 4, 8, 16, 32, 64)  # in 1/255
TOLERANCE = 0.1  # dB that rounding may cost
PROBES = 8  # images whose latents are moved for `pixel_gains`
LAPLACE_SHARE = 0.2  # of the probabilities; the others are those of the fitted latents
MAX_RATIO = 16.0  # of a step to the Laplace distribution's scale: the latents of a dead channel have none


class RatePoint(NamedTuple):
    """Latents at a step: the step in 1/255, means over images of the bytes and of the PSNR in dB."""

    step: int
    bytes: float
    psnr: float


def pixel_gains(model: Reconstructor, latents: np.ndarray, seed: int = 0) -> np.ndarray:
    """How far the pixels move per unit of a latent, (latent_dim,): of each channel the root mean square over latents.

    How far is the Euclidean norm of the change in all pixels; of a linear decoder it is the norm of its row. By finite
    differences of `decode`: the latents of a channel move at all positions at once, by an eighth of their standard
    deviation and with random signs, so that what several do to a pixel adds up in squares, as their rounding will.

    Args:
        model: one that decodes latents.
        latents: (images, rows, columns, latent_dim).
        seed: of the signs.
    """
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], latents.shape[:3])
    deviations = latents.std(axis=(0, 1, 2))
    images = _decode(model, latents)
    gains = []
    for channel, move in enumerate(np.where(deviations > 0, deviations / 8, 1)):
        moved = latents.copy()
        moved[..., channel] += signs * move
        change = np.square(_decode(model, moved) - images).sum(dtype="float64")
        gains.append(np.sqrt(change / signs.size) / move)
    return np.array(gains)


class LatentCoder:
    """Rounds latents to multiples of a step and tells the bytes that they then need.

    A channel's step is `step / gain`, about the median: rounding moves the pixels by as much as that of orthonormal
    coefficients, such as JPEG's, to multiples of `step`. A multiple's probability is its share of the fitted latents,
    mixed with that of a Laplace distribution, so that any multiple has one. Steps and probabilities are part of the
    model. No coder is run: the bytes are the cross-entropy, which a static arithmetic coder with these tables reaches.

    Args:
        fitted: latents (n, latent_dim), of other images than those that will be coded.
        gains: (latent_dim,), see `pixel_gains`.
        step: in pixels from 0 to 1.
    """

    def __init__(self, fitted: np.ndarray, gains: np.ndarray, step: float):
        self.steps = step / np.maximum(gains, 1e-9)  # what moves no pixel is not worth a bit
        self.centers = np.median(fitted, axis=0).astype("float64")
        scales = np.abs(fitted - self.centers).mean(axis=0)
        self.ratios = self.steps / np.maximum(scales, self.steps / MAX_RATIO)
        symbols = self._symbols(fitted)
        self.counts = [np.unique(channel, return_counts=True) for channel in symbols.T]
        self.total = len(fitted)

    def __call__(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of latents (images, rows, columns, latent_dim): the rounded ones, float32, and whole bytes (images,)."""
        symbols = self._symbols(latents)
        bits = sum(self.bits(symbols[..., channel], channel).sum(axis=(1, 2)) for channel in range(symbols.shape[-1]))
        return (self.centers + symbols * self.steps).astype("float32"), np.ceil(bits / 8)

    def bits(self, symbols: np.ndarray, channel: int) -> np.ndarray:
        """What symbols of a channel, integers of any shape, cost each."""
        values, counts = self.counts[channel]
        at = np.minimum(np.searchsorted(values, symbols), len(values) - 1)
        share = np.where(values[at] == symbols, counts[at] / self.total, 0.0)
        ratio, size = self.ratios[channel], np.abs(symbols)
        # The integral over a step; its logarithm, as far out it is less than the least float.
        tail = np.log(-np.expm1(-ratio) / 2) - (size - 0.5) * ratio
        laplace = np.where(size > 0, tail, np.log(-np.expm1(-ratio / 2)))
        with np.errstate(divide="ignore"):  # a share of 0
            mixed = np.logaddexp(np.log((1 - LAPLACE_SHARE) * share), np.log(LAPLACE_SHARE) + laplace)
        return -mixed / np.log(2)

    def _symbols(self, latents):
        return np.rint((latents - self.centers) / self.steps)


def rate_curve(model: Reconstructor, batches: list, fitting: list[np.ndarray]) -> list[RatePoint]:
    """What a model that decodes latents makes of (degraded, clean) batches when these are rounded, by each of `STEPS`.

    Args:
        model, batches: what is measured.
        fitting: batches of images that steps and probabilities are fitted to, others than those of `batches`.
    """
    fitted = np.concatenate([_encode(model, images) for images in fitting])
    gains = pixel_gains(model, fitted[np.linspace(0, len(fitted), PROBES, endpoint=False).astype(int)])
    fitted = fitted.reshape(-1, fitted.shape[-1])
    latents = [_encode(model, degraded) for degraded, _ in batches]
    curve = []
    for step in STEPS:
        coder = LatentCoder(fitted, gains, step / 255)
        rounded, sizes = zip(*map(coder, latents))
        psnr = [metrics.psnr(clean, model.decode(ops.convert_to_tensor(r))) for r, (_, clean) in zip(rounded, batches)]
        psnr = np.concatenate([ops.convert_to_numpy(of_batch) for of_batch in psnr])
        curve.append(RatePoint(step, float(np.concatenate(sizes).mean()), float(psnr.mean(dtype="float64"))))
    return curve


def coarsest(curve: list[RatePoint], psnr: float) -> RatePoint:
    """The point with the coarsest step at most `TOLERANCE` below `psnr`, that of latents as they are, or the finest."""
    return max((p for p in curve if p.psnr >= psnr - TOLERANCE), default=curve[0], key=lambda point: point.step)


def bd_rate(curve: Iterable[tuple[float, float]], anchor: Iterable[tuple[float, float]]) -> float | None:
    """By how much more bytes or bits than the anchor a curve needs at equal PSNR: -0.1 is a tenth less.

    The mean, over the PSNR that both reach, of the difference of the logarithms, interpolated by monotone cubics; None
    where they have less than two points or no PSNR in common. From "Calculation of average PSNR differences between
    RD-curves" (Bjontegaard, 2001).

    Args:
        curve, anchor: pairs of bytes, or bits, and PSNR. Those that are no better than cheaper ones do not count.
    """
    (of_curve, scores), (of_anchor, of_scores) = _rising(curve), _rising(anchor)
    low, high = max(scores[0], of_scores[0]), min(scores[-1], of_scores[-1])
    if not low < high:
        return None
    integrals = [
        PchipInterpolator(x, np.log(y)).integrate(low, high) for x, y in ((scores, of_curve), (of_scores, of_anchor))
    ]
    return float(np.exp((integrals[0] - integrals[1]) / (high - low)) - 1)


def _rising(curve):
    rates, scores = np.array(sorted(curve), "float64").T
    better = scores > np.maximum.accumulate([-np.inf, *scores[:-1]])
    return rates[better], scores[better]


def _encode(model, images):
    return ops.convert_to_numpy(model.encode(ops.convert_to_tensor(np.asarray(images))))


def _decode(model, latents):
    return ops.convert_to_numpy(model.decode(ops.convert_to_tensor(latents, "float32")))
