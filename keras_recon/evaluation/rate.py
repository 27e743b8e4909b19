"""Quality against bytes: of JPEG, WebP and AVIF, and of models whose latents are rounded and entropy-coded."""

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

# Options of Pillow; JPEG and AVIF subsample chroma 4:2:0 by default. Pillow can lack AVIF.
CODECS = {"jpeg": {}, "webp": {"method": 6}, **({"avif": {}} if features.check("avif") else {})}
CURVE_QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
JPEG_START, START_OF_SCAN = b"\xff\xd8", 0xDA


def transmit(images: np.ndarray, codec: str, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode and decode images with a codec.

    Args:
        images: (images, height, width, channels) in [0, 1].
        codec: a name in `CODECS`.
        quality: 1 to 100.

    Returns:
        Decoded images, float32, and bytes of each image, see `payload`.
    """

    def through(image):
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        file = io.BytesIO()
        picture.save(file, codec, quality=quality, **CODECS[codec])
        with Image.open(file) as received:
            decoded = np.asarray(received.convert(picture.mode)).reshape(image.shape)
        return decoded, payload(file.getvalue())

    with ThreadPoolExecutor() as threads:  # Pillow releases the interpreter lock
        decoded, sizes = zip(*threads.map(through, np.rint(ops.convert_to_numpy(images) * 255).astype("uint8")))
    return np.stack(decoded).astype("float32") / 255, np.array(sizes)


def payload(file: bytes) -> int:
    """Return the bytes of an image file that count: all, but only the entropy-coded data of a baseline JPEG.

    A JPEG repeats about 600 bytes of standard Huffman tables and of quantisation tables that the quality determines,
    which would outweigh the data of small crops.
    """
    if not file.startswith(JPEG_START):
        return len(file)
    position = len(JPEG_START)
    while True:
        marker, size = struct.unpack_from(">xBH", file, position)
        position += 2 + size
        if marker == START_OF_SCAN:
            return len(file) - position - 2  # without the marker at the end of the image


class Coded(NamedTuple):
    """A codec at a quality, with bytes and PSNR in dB averaged over images."""

    quality: int
    bytes: float
    psnr: float


def at_bytes(codec: str, images: np.ndarray, budget: float) -> tuple[Coded | None, list[Coded]]:
    """Find the greatest quality, from 1 to 100, at which a codec needs at most `budget` mean bytes per image.

    Returns:
        The point at this quality, None if the lowest quality needs more, and the curve up to twice the budget.
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
TOLERANCE = 0.1  # largest loss of PSNR by rounding, in dB
PROBES = 8  # images whose latents are perturbed for `pixel_gains`
LAPLACE_SHARE = 0.2  # weight of the Laplace distribution; the frequencies of the fitted latents have the rest
MAX_RATIO = 16.0  # of a step to the scale of the Laplace distribution, which is 0 for a dead channel


class RatePoint(NamedTuple):
    """Latents rounded at a step in 1/255, with bytes and PSNR in dB averaged over images."""

    step: int
    bytes: float
    psnr: float


def pixel_gains(model: Reconstructor, latents: np.ndarray, seed: int = 0) -> np.ndarray:
    """Compute how much the pixels change per unit of each latent channel, in root mean square over latents.

    The change is the Euclidean norm over all pixels; for a linear decoder, it is the norm of its row. It is computed by
    finite differences of `decode`: the latents of a channel are perturbed at all positions at once, by an eighth of
    their standard deviation and with random signs, so that overlapping changes add up in squares, as rounding does.

    Args:
        model: a model that decodes latents.
        latents: (images, rows, columns, latent_dim).
        seed: seed of the signs.

    Returns:
        Gains (latent_dim,).
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
    """Round latents to multiples of a step and compute their bytes.

    The step of a channel is `step / gain`, around the median: rounding changes the pixels as much as rounding
    orthonormal coefficients, such as those of JPEG, to multiples of `step`. The probability of a multiple is its
    frequency in the fitted latents, mixed with a Laplace distribution, so that each multiple has one. Steps and
    probabilities are part of the model. No coder is run: the bytes are the cross-entropy, which a static arithmetic
    coder with these tables reaches.

    Args:
        fitted: latents (n, latent_dim) of other images than those to code.
        gains: (latent_dim,), see `pixel_gains`.
        step: step in pixel values, above 0.
    """

    def __init__(self, fitted: np.ndarray, gains: np.ndarray, step: float):
        self.steps = step / np.maximum(gains, 1e-9)  # channels without effect get no bits
        self.centers = np.median(fitted, axis=0).astype("float64")
        scales = np.abs(fitted - self.centers).mean(axis=0)
        self.ratios = self.steps / np.maximum(scales, self.steps / MAX_RATIO)
        symbols = self._symbols(fitted)
        self.counts = [np.unique(channel, return_counts=True) for channel in symbols.T]
        self.total = len(fitted)

    def __call__(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rounded latents (images, rows, columns, latent_dim), float32, and whole bytes (images,)."""
        symbols = self._symbols(latents)
        bits = sum(self.bits(symbols[..., channel], channel).sum(axis=(1, 2)) for channel in range(symbols.shape[-1]))
        return (self.centers + symbols * self.steps).astype("float32"), np.ceil(bits / 8)

    def bits(self, symbols: np.ndarray, channel: int) -> np.ndarray:
        """Return the bits of each symbol of a channel, integers of any shape."""
        values, counts = self.counts[channel]
        at = np.minimum(np.searchsorted(values, symbols), len(values) - 1)
        share = np.where(values[at] == symbols, counts[at] / self.total, 0.0)
        ratio, size = self.ratios[channel], np.abs(symbols)
        # The logarithm of the integral over a step, which underflows far from the median.
        tail = np.log(-np.expm1(-ratio) / 2) - (size - 0.5) * ratio
        laplace = np.where(size > 0, tail, np.log(-np.expm1(-ratio / 2)))
        with np.errstate(divide="ignore"):  # a share of 0
            mixed = np.logaddexp(np.log((1 - LAPLACE_SHARE) * share), np.log(LAPLACE_SHARE) + laplace)
        return -mixed / np.log(2)

    def _symbols(self, latents):
        return np.rint((latents - self.centers) / self.steps)


def rate_curve(model: Reconstructor, batches: list, fitting: list[np.ndarray]) -> list[RatePoint]:
    """Measure a model with rounded latents, at each of `STEPS`.

    Args:
        model: a model that decodes latents.
        batches: (degraded, clean) images.
        fitting: batches of other images, to which steps and probabilities are fitted.
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
    """Return the point with the coarsest step at most `TOLERANCE` below `psnr`, or the one with the finest step."""
    return max((p for p in curve if p.psnr >= psnr - TOLERANCE), default=curve[0], key=lambda point: point.step)


def bd_rate(curve: Iterable[tuple[float, float]], anchor: Iterable[tuple[float, float]]) -> float | None:
    """Compute the BD-rate: the relative difference in bytes at equal PSNR; -0.1 means 10 % fewer bytes.

    The logarithms of the bytes are interpolated by monotone cubics, and their difference is averaged over the PSNR that
    both curves reach. From "Calculation of average PSNR differences between RD-curves" (Bjontegaard, 2001).

    Args:
        curve: pairs of bytes, or bits, and PSNR. Points that are no better than cheaper ones are dropped.
        anchor: pairs of the curve to compare with.

    Returns:
        The BD-rate; None if the curves have no range of PSNR in common.
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
