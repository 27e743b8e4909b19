"""Photos as bytes of a codec, and back: a header, and the latents as the range coder leaves them."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_recon.compression.codec import CHANNELS, PATCH_SIZE, ImageCodec
from keras_recon.compression.coder import Decoder, Encoder, bits
from keras_recon.compression.entropy import checkerboard
from keras_recon.compression.integer import MAX_QUALITY, UNIT, IntegerEntropyModel

MAGIC = b"KRC"
VERSION = 1
# The magic number, version, checksum of the model's weights, quality, channels, height and width, checksum of the
# latents; before the coded latents comes the checksum of all of that and of them.
HEADER = struct.Struct("<3sBIBBHHI")
CHECKSUM = struct.Struct("<I")
MAX_PIXELS = 2**28
TILE = 512  # pixels
# Pixels on each side on which the outputs of encoder and decoder depend, beside `OF_BLOCK` for each block per level.
REACH, OF_BLOCK = (7, 22), 28
# How much more than its own error a latent's rounding costs: later slices and the decoder's network see it too.
CARE = 4.0


def compress(codec: ImageCodec, image: np.ndarray, quality: float = 0.5) -> bytes:
    """A file of a photo: as `codec` codes it at a quality, whatever the backend.

    Latents are rounded towards zero where the bits are worth more than the error ("Rate-distortion optimization for
    video compression", Sullivan and Wiegand, 1998).

    Args:
        codec: trained.
        image: uint8 (height, width, 3), or (height, width, 1) of gray.
        quality: from 0 to 1; a file has it in steps of 1 / 255.

    Raises:
        ValueError: of an argument.
        ImportError: constriction is missing, of the extra `codec`.

    Example:

    >>> codec = keras_recon.compression.ImageCodec(filters=(8, 8, 16), slices=(8, 24), hyper_dim=4, hyper_filters=8)
    >>> photo = np.random.randint(0, 256, (50, 70, 3), "uint8")
    >>> data = keras_recon.compression.compress(codec, photo, quality=0.8)
    >>> keras_recon.compression.decompress(codec, data).shape
    (50, 70, 3)
    """
    if not 0 <= quality <= 1:
        raise ValueError(f"`quality` must be from 0 to 1. Received: quality={quality}")
    if image.dtype != "uint8" or image.ndim != 3 or image.shape[2] not in (1, CHANNELS) or not image.size:
        raise ValueError(
            f"`image` must be uint8 (height, width, 3), or (height, width, 1) of gray. "
            f"Received: {image.dtype} {image.shape}"
        )
    height, width, channels = image.shape
    if max(height, width) >= 2**16 or height * width > MAX_PIXELS:
        raise ValueError(f"A file has at most {MAX_PIXELS:,} pixels, 65,535 a side. Received: {height}x{width}")
    step = round(MAX_QUALITY * quality)
    knots = codec.knots(np.array([step / MAX_QUALITY], "float32"))
    padded = np.pad(image, [(0, -side % codec.multiple) for side in (height, width)] + [(0, 0)], "edge")
    padded = np.repeat(padded, CHANNELS // channels, axis=2)

    def analyse(pixels):
        return ops.convert_to_numpy(codec.analyse(pixels[None] / np.float32(255), knots))[0]

    latents = _in_tiles(analyse, padded, 1, PATCH_SIZE, _halo(codec, 0))
    hyper = np.rint(ops.convert_to_numpy(codec.entropy_model.hyper_latents(latents[None]))[0])
    steps = np.exp(ops.convert_to_numpy(ops.matmul(knots, codec.log_inverse_gain))[0])
    weights = CARE * codec.distortion_weight(step / MAX_QUALITY) / CHANNELS * np.square(steps)
    encoder = Encoder()

    def coded(symbols, scales):
        encoder.encode(symbols, scales)
        return symbols

    def rounded(means, scales, where):
        positions, channels = where
        return coded(_rounded(latents[positions][:, channels] - means / UNIT, scales, weights[channels]), scales)

    model = IntegerEntropyModel(codec.entropy_model, codec.num_knots)
    _, checksum = _latents(model, step, lambda scales: coded(hyper, np.broadcast_to(scales, hyper.shape)), rounded)
    header = HEADER.pack(MAGIC, VERSION, _digest(codec), step, channels, height, width, checksum)
    data = encoder.to_bytes()
    return header + CHECKSUM.pack(zlib.crc32(header + data)) + data


def decompress(codec: ImageCodec, data: bytes) -> np.ndarray:
    """The photo of a file that `compress` made with the same codec: uint8 (height, width, 3 or 1).

    Raises:
        ValueError: one sentence on what is wrong with the file: it is damaged, or of another codec or format.
        ImportError: constriction is missing, of the extra `codec`.
    """
    start = HEADER.size + CHECKSUM.size
    if len(data) < start or data[:3] != MAGIC:
        raise ValueError("it is no file of a codec of keras_recon")
    _, version, digest, step, channels, height, width, checksum = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"its format has the version {version}, and this keras_recon reads {VERSION}")
    header, coded = data[: HEADER.size], data[start:]
    if CHECKSUM.unpack_from(data, HEADER.size)[0] != zlib.crc32(header + coded):
        raise ValueError("it is damaged: its checksum is another one")
    if digest != _digest(codec):
        raise ValueError("another codec made it, or the same one after more training")
    rows, columns = (-(-side // codec.multiple) for side in (height, width))
    model = IntegerEntropyModel(codec.entropy_model, codec.num_knots)
    least = rows * columns * bits(0, model.hyper_scales).sum() / 8
    if channels not in (1, CHANNELS) or not 0 < height * width <= MAX_PIXELS or len(coded) + 8 < least:
        raise ValueError(f"it claims {height}x{width} pixels of {channels} channels, which it cannot hold")
    decoder = Decoder(coded)
    try:
        latents, found = _latents(
            model,
            step,
            lambda scales: decoder.decode(np.broadcast_to(scales, (rows, columns, len(scales)))),
            lambda means, scales, where: decoder.decode(scales),
        )
    except AssertionError:  # of constriction, where bytes cannot be
        found = None
    if found != checksum:
        raise ValueError("it is damaged: its latents have another checksum")
    knots = codec.knots(np.array([step / MAX_QUALITY], "float32"))

    def synthesise(values):
        images = codec.synthesise(ops.convert_to_tensor(values[None] / UNIT, "float32"), knots)
        return np.rint(255 * ops.convert_to_numpy(images)[0]).astype("uint8")

    image = _in_tiles(synthesise, latents, PATCH_SIZE, 1, _halo(codec, 1))[:height, :width]
    return image if channels == CHANNELS else np.rint(image.mean(axis=2, keepdims=True)).astype("uint8")


def _latents(model: IntegerEntropyModel, step: int, hyper: Callable, symbols: Callable) -> tuple[np.ndarray, int]:
    """What sender and receiver compute alike: the rounded latents, in whole numbers of 1 / `UNIT`, and their checksum.

    Args:
        model: of the codec.
        step: of the quality.
        hyper: the hyper-latents, of the indices of their scales.
        symbols: of the means, of the indices of the scales, and of where they are: the positions, and the channels.
    """
    of_hyper, start = hyper(model.hyper_scales), 0
    checksum = zlib.crc32(of_hyper.astype("<i8").tobytes())
    features, decoded = model.features(of_hyper, step), []
    first = checkerboard(np, *features.shape[:2])
    for i, size in enumerate(model.slices):
        values = np.zeros((*first.shape, size), "float32")
        for positions in (first, ~first):
            means, scales = (array[positions] for array in model.parameters(i, features, decoded, values))
            coded = symbols(means, scales, (positions, slice(start, start + size)))
            values[positions] = means + UNIT * coded
        decoded.append(values)
        checksum = zlib.crc32(values.astype("<i8").tobytes(), checksum)
        start += size
    return np.concatenate(decoded, axis=-1), checksum


def _rounded(values, scales, weights):
    """Symbols of values, one less where that saves more bits than it costs in error, times its weight."""
    symbols = np.rint(values)
    less = symbols - np.sign(symbols)
    error = weights * (np.square(values - less) - np.square(values - symbols))
    return np.where(bits(symbols, scales) - bits(less, scales) > error, less, symbols)


def _digest(codec: ImageCodec) -> int:
    checksum = 0
    for weight in codec.weights:
        checksum = zlib.crc32(ops.convert_to_numpy(weight).astype("<f4").tobytes(), checksum)
    return checksum


def _halo(codec: ImageCodec, part: int) -> int:
    """Pixels around a tile that the encoder, which is part 0, or the decoder must see, in whole patches."""
    return -(-(REACH[part] + OF_BLOCK * codec.num_blocks[part]) // PATCH_SIZE) * PATCH_SIZE


def _in_tiles(function: Callable, array: np.ndarray, unit: int, scale: int, halo: int) -> np.ndarray:
    """`function` of an array (rows, columns, values), tile by tile; the result has `unit / scale` times its sides.

    Args:
        unit: pixels for each row of the array.
        scale: pixels for each row of the result.
        halo: pixels around a tile that `function` gets beside it.
    """
    tile, halo = TILE // unit, halo // unit
    rows, columns, _ = array.shape
    bands = []
    for top in range(0, rows, tile):
        band = []
        for left in range(0, columns, tile):
            y, x = max(0, top - halo), max(0, left - halo)
            output = function(array[y : top + tile + halo, x : left + tile + halo])
            place = [slice((a - b) * unit // scale, (a - b + tile) * unit // scale) for a, b in ((top, y), (left, x))]
            band.append(output[tuple(place)])
        bands.append(np.concatenate(band, axis=1))
    return np.concatenate(bands)
