"""What reconstructions cost in bytes: latents as 8-bit numbers and, beside them, the codecs JPEG and WebP."""

import io
from bisect import bisect_right
from functools import cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import scipy.stats
from keras import ops
from PIL import Image

from keras_recon import metrics
from keras_recon.evaluation.scores import image_scores
from keras_recon.models import Reconstructor

LEVELS = 256  # 8 bits
CODECS = {"jpeg": {}, "webp": {"method": 6}}  # with Pillow's options; JPEG's default is 4:2:0 chroma
CURVE_QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


class Quantized(NamedTuple):
    """Latents in 8 bits.

    Attributes:
        latents: the levels, float32 (images, rows, columns, latent_dim), at most half a step from what they stand for.
        bytes: per image, at the empirical entropy of each channel. A bound for coders that know the frequencies of the
            levels and take positions as independent: no coder is run, frequencies and ranges are not counted.
    """

    latents: np.ndarray
    bytes: float


def quantize(latents: np.ndarray) -> Quantized:
    """Round latents (images, rows, columns, latent_dim) to 256 even levels over the range of each channel."""
    _, rows, columns, latent_dim = latents.shape
    low, high = latents.min(axis=(0, 1, 2)), latents.max(axis=(0, 1, 2))  # (latent_dim,)
    step = np.where(high > low, high - low, 1) / (LEVELS - 1)
    symbols = np.rint((latents - low) / step).astype("uint8")
    counts = [np.bincount(channel, minlength=LEVELS) for channel in symbols.reshape(-1, latent_dim).T]
    bits = scipy.stats.entropy(counts, base=2, axis=1).sum()  # per position
    return Quantized((low + step * symbols).astype("float32"), float(bits * rows * columns / 8))


def quantized_scores(model: Reconstructor, batches: list) -> tuple[dict[str, np.ndarray], float]:
    """`image_scores` of what `model` decodes from 8-bit latents of (degraded, clean) batches, and bytes per image."""
    latents = [ops.convert_to_numpy(model.encode(degraded)) for degraded, _ in batches]
    quantized = quantize(np.concatenate(latents))
    starts = np.cumsum([len(part) for part in latents])[:-1]
    pairs = zip(np.split(quantized.latents, starts), (clean for _, clean in batches))
    return image_scores(model.decode, pairs), quantized.bytes


def transmit(images: np.ndarray, codec: str, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (images, height, width, channels) in [0, 1] through a codec of `CODECS`: decoded images, bytes of each.

    For JPEG the bytes of the abbreviated stream count, without the tables: sender and receiver can agree on these,
    and for a small crop they are most of the file.
    """
    decoded, sizes = [], []
    for image in np.rint(np.asarray(images) * 255).astype("uint8"):
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        file = _encode(picture, codec, quality)
        sizes.append(len(_encode(picture, codec, quality, streamtype=2) if codec == "jpeg" else file))
        with Image.open(io.BytesIO(file)) as received:
            decoded.append(np.asarray(received.convert(picture.mode)).reshape(image.shape))
    return np.stack(decoded).astype("float32") / 255, np.array(sizes)


def _encode(picture, codec, quality, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, codec, quality=quality, **CODECS[codec], **options)
    return file.getvalue()


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
