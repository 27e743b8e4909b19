"""Photos as bytes of a codec, and back: a header, and the latents as the range coder leaves them."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_recon.compression.codec import CHANNELS, PATCH_SIZE, ImageCodec
from keras_recon.compression.coder import Decoder, Encoder, bits
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
HYPER_HALO = 64  # pixels on each side, two hyper-latents, beyond which these see nothing
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
    beyond = [*((0, -side % codec.multiple) for side in (height, width)), (0, 0)]

    def analyse(pixels):
        pixels = np.repeat(pixels, CHANNELS // channels, axis=2)
        return codec.analyse(pixels[None] / np.float32(255), knots)

    def hyper_analyse(latents):
        return codec.entropy_model.hyper_latents(latents[None])

    latents = _in_tiles(analyse, np.pad(image, beyond, "edge"), codec.latent_dim, 1, PATCH_SIZE, _halo(codec, 0))
    hyper = np.rint(_in_tiles(hyper_analyse, latents, codec.hyper_dim, PATCH_SIZE, codec.multiple, HYPER_HALO))
    steps = np.exp(ops.convert_to_numpy(ops.matmul(knots, codec.log_inverse_gain))[0])
    weights = CARE * codec.distortion_weight(step / MAX_QUALITY) / CHANNELS * np.square(steps)
    encoder = Encoder()

    def code(bands, of_slice):
        coded, of_bands = [], []
        for at, means, scales in bands:
            symbols = _rounded(latents[(*at, of_slice)] - means / UNIT, scales, weights[of_slice])
            latents[(*at, of_slice)] = means + UNIT * symbols
            coded.append(symbols)
            of_bands.append(scales)
        symbols = np.concatenate(coded)
        coded.clear()  # a large photo's memory
        encoder.encode(symbols, np.concatenate(of_bands))

    model = IntegerEntropyModel(codec.entropy_model, codec.num_knots)
    encoder.encode(hyper, np.broadcast_to(model.hyper_scales, hyper.shape))
    checksum = _code(model, step, hyper, latents, code)
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
    of_hyper = codec.multiple // PATCH_SIZE
    latents = np.zeros((of_hyper * rows, of_hyper * columns, codec.latent_dim), "float32")

    def code(bands, of_slice):
        places, of_bands = [], []
        for at, means, scales in bands:
            latents[(*at, of_slice)] = means
            places.append(at)
            of_bands.append(scales)
        symbols = decoder.decode(np.concatenate(of_bands))
        for at, part in zip(places, np.split(symbols, np.cumsum([len(scales) for scales in of_bands])[:-1])):
            latents[(*at, of_slice)] += UNIT * part.astype("float64")

    try:
        hyper = decoder.decode(np.broadcast_to(model.hyper_scales, (rows, columns, len(model.hyper_scales))))
        found = _code(model, step, hyper, latents, code)
    except AssertionError:  # of constriction, where bytes cannot be
        found = None
    if found != checksum:
        raise ValueError("it is damaged: its latents have another checksum")
    knots = codec.knots(np.array([step / MAX_QUALITY], "float32"))

    def synthesise(values):
        images = codec.synthesise(ops.convert_to_tensor(values[None] / UNIT, "float32"), knots)
        return np.rint(255 * ops.convert_to_numpy(images))

    image = _in_tiles(synthesise, latents, CHANNELS, PATCH_SIZE, 1, _halo(codec, 1), "uint8")[:height, :width]
    return image if channels == CHANNELS else np.rint(image.mean(axis=2, keepdims=True)).astype("uint8")


def _code(model: IntegerEntropyModel, step: int, hyper: np.ndarray, latents: np.ndarray, code: Callable) -> int:
    """What sender and receiver compute alike, slice by slice and half by half; the checksum of all latents is returned.

    Args:
        model: of the codec.
        step: of the quality.
        hyper: the hyper-latents.
        latents: (rows, columns, channels), which become the decoded ones, in whole numbers of 1 / `UNIT`.
        code: of what `model.parameters` gives, and of the channels: it decodes these latents, in place.
    """
    checksum, start = zlib.crc32(hyper.astype("<i8").tobytes()), 0
    features = model.features(hyper, step)
    for index, size in enumerate(model.slices):
        of_slice = slice(start, start + size)
        for half in (0, 1):
            code(model.parameters(index, half, features, latents), of_slice)
        for row in latents:
            checksum = zlib.crc32(row[:, of_slice].astype("<i8").tobytes(), checksum)
        start += size
    return checksum


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


def _in_tiles(
    function: Callable, array: np.ndarray, values: int, unit: int, scale: int, halo: int, dtype: str = "float32"
) -> np.ndarray:
    """`function` of an array (rows, columns, values), tile by tile; the result has `unit / scale` times its sides.

    Args:
        function: of a tile; its result has a batch axis, of one.
        values: of the result.
        unit: pixels for each row of the array.
        scale: pixels for each row of the result.
        halo: pixels around a tile that `function` gets beside it.
        dtype: of the result.
    """
    tile, halo = TILE // unit, halo // unit
    rows, columns, _ = array.shape
    result = np.empty((rows * unit // scale, columns * unit // scale, values), dtype)
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            y, x = max(0, top - halo), max(0, left - halo)
            output = ops.convert_to_numpy(function(array[y : top + tile + halo, x : left + tile + halo]))[0]
            inner = [slice((a - b) * unit // scale, (a - b + tile) * unit // scale) for a, b in ((top, y), (left, x))]
            place = [slice(a * unit // scale, (a + tile) * unit // scale) for a in (top, left)]
            result[tuple(place)] = output[tuple(inner)]
    return result
