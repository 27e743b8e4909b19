"""Compressed files of photos.

A photo is coded in strips of rows, which pass through the networks in tiles. No float array holds the whole photo.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from keras import ops

from keras_recon.compression.codec import CHANNELS, PATCH_SIZE, ImageCodec
from keras_recon.compression.coder import Decoder, Encoder, bits
from keras_recon.compression.integer import MAX_QUALITY, UNIT, IntegerEntropyModel

TILE = 512  # pixels
STRIP = 2 * TILE
# Receptive field of encoder and decoder, in pixels on each side: a constant, plus a part per block and level.
REACH, BLOCK_REACH = (7, 22), 28
HYPER_HALO = 64  # receptive field of a hyper-latent, in pixels on each side

MAGIC = b"KRC"
VERSION = 1
# Magic number, version, checksum of the codec's weights, quality, channels, height, width, checksum of the latents.
# The checksum of header and coded latents follows, then the coded latents.
HEADER = struct.Struct("<3sBIBBHHI")
CHECKSUM = struct.Struct("<I")
MAX_PIXELS = 2**28
# Factor on the squared error of a rounded latent: later slices and the decoder's network depend on it too.
CARE = 4.0


def compress(codec: ImageCodec, image: np.ndarray, quality: float = 0.5) -> bytes:
    """Compress a photo to the bytes of a file, which `decompress` reads on any backend.

    A latent is rounded towards zero where this saves more bits than its error is worth, as in "Rate-distortion
    optimization for video compression" (Sullivan and Wiegand, 1998).

    Args:
        codec: Trained codec.
        image: uint8 (height, width, 3) for RGB or (height, width, 1) for gray.
        quality: From 0 to 1, rounded to multiples of 1/255.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: An argument is wrong.
        ImportError: constriction, of the extra `codec`, is not installed.

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
            "`image` must be uint8 (height, width, 3) for RGB or (height, width, 1) for gray. "
            f"Received: {image.dtype} {image.shape}"
        )
    height, width, channels = image.shape
    if max(height, width) >= 2**16 or height * width > MAX_PIXELS:
        raise ValueError(
            f"`image` must have at most {MAX_PIXELS:,} pixels and sides of at most 65,535. Received: {height}x{width}"
        )
    step = round(MAX_QUALITY * quality)
    knots = codec.knots(np.array([step / MAX_QUALITY], "float32"))
    steps = np.exp(ops.convert_to_numpy(ops.matmul(knots, codec.log_inverse_gain))[0])
    weights = CARE * codec.distortion_weight(step / MAX_QUALITY) / CHANNELS * np.square(steps)
    encoder = Encoder()

    def code(residuals, scales, channels):
        symbols = _rounded(residuals, scales, weights[channels])
        encoder.encode(symbols, scales)
        return symbols

    model, checksum = IntegerEntropyModel(codec.entropy_model, codec.num_knots), 0
    for latents, hyper in analysed(codec, image, knots):
        hyper = np.rint(hyper)
        encoder.encode(hyper, np.broadcast_to(model.hyper_scales, hyper.shape))
        checksum = _code(model, step, hyper, latents, code, checksum)
    header = HEADER.pack(MAGIC, VERSION, _digest(codec), step, channels, height, width, checksum)
    data = encoder.to_bytes()
    return header + CHECKSUM.pack(zlib.crc32(header + data)) + data


def decompress(codec: ImageCodec, data: bytes) -> np.ndarray:
    """Decompress a photo.

    Args:
        codec: The codec that made the file.
        data: Bytes of a file from `compress`.

    Returns:
        uint8 (height, width, 3) or (height, width, 1).

    Raises:
        ValueError: The file is corrupt, has another format, or was made by another codec.
        ImportError: constriction, of the extra `codec`, is not installed.
    """
    start = HEADER.size + CHECKSUM.size
    if len(data) < start or data[:3] != MAGIC:
        raise ValueError("The file must be one that keras_recon compressed")
    _, version, digest, step, channels, height, width, checksum = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"The file has format version {version}, and this keras_recon reads version {VERSION}")
    header, coded = data[: HEADER.size], data[start:]
    if CHECKSUM.unpack_from(data, HEADER.size)[0] != zlib.crc32(header + coded):
        raise ValueError("The file is corrupt: its checksum does not match")
    if digest != _digest(codec):
        raise ValueError("The file was made by another codec, or by this one before further training")
    rows, columns = (-(-side // codec.multiple) for side in (height, width))
    model = IntegerEntropyModel(codec.entropy_model, codec.num_knots)
    least = rows * columns * bits(0, model.hyper_scales).sum() / 8
    if channels not in (1, CHANNELS) or not 0 < height * width <= MAX_PIXELS or len(coded) + 8 < least:
        raise ValueError(f"The file claims {height}x{width} pixels of {channels} channels, which it cannot hold")
    decoder, found = Decoder(coded), 0
    image = np.empty((codec.multiple * rows, codec.multiple * columns, channels), "uint8")

    def decoded():
        nonlocal found
        hyper_size, strip_rows = codec.multiple // PATCH_SIZE, STRIP // codec.multiple
        for top in range(0, rows, strip_rows):
            shape = (min(rows - top, strip_rows), columns)
            hyper = decoder.decode(np.broadcast_to(model.hyper_scales, (*shape, len(model.hyper_scales))))
            latents = np.zeros((*(hyper_size * side for side in shape), codec.latent_dim), "float32")
            found = _code(model, step, hyper, latents, lambda _, scales, channels: decoder.decode(scales), found)
            yield latents / np.float32(UNIT)

    try:
        with np.errstate(invalid="ignore"):  # corrupt latents, which the checksum finds at the end, can overflow
            synthesised(codec, decoded(), image, codec.knots(np.array([step / MAX_QUALITY], "float32")))
    except AssertionError:  # from constriction, for impossible bytes
        found = None
    if found != checksum:
        raise ValueError("The file is corrupt: the checksum of its latents does not match")
    return image[:height, :width]


def _code(
    model: IntegerEntropyModel, step: int, hyper: np.ndarray, latents: np.ndarray, code: Callable, checksum: int
) -> int:
    """Code the latents of a strip, half by half of each slice, with equal steps in encoder and decoder.

    Args:
        model: Entropy model of the codec.
        step: Quality, from 0 to `MAX_QUALITY`.
        hyper: Rounded hyper-latents.
        latents: (rows, columns, channels), replaced in place by the decoded latents in units of 1 / `UNIT`.
        code: Function of residuals, scale indices and the slice of channels that returns the symbols.
        checksum: Checksum of the strips before.

    Returns:
        The checksum of all strips so far.
    """
    checksum = zlib.crc32(hyper.astype("<i8").tobytes(), checksum)
    features = model.features(hyper, step)
    for index, channels in enumerate(map(slice, model.starts, model.starts[1:])):
        for half in (0, 1):
            places, means, scales = zip(*model.parameters(index, half, features, latents))
            at, means = (*np.concatenate(places, axis=1), channels), np.concatenate(means)
            symbols = code(latents[at] - means / UNIT, np.concatenate(scales), channels)
            latents[at] = means + UNIT * symbols.astype("float64")
        for row in latents:
            checksum = zlib.crc32(row[:, channels].astype("<i8").tobytes(), checksum)
    return checksum


def _rounded(values, scales, weights):
    """Round values to symbols, towards zero where this saves more bits than its squared error times the weight."""
    symbols = np.rint(values)
    less = symbols - np.sign(symbols)
    error = weights * (np.square(values - less) - np.square(values - symbols))
    return np.where(bits(symbols, scales) - bits(less, scales) > error, less, symbols)


def _digest(codec: ImageCodec) -> int:
    """Compute the checksum of the codec's weights."""
    checksum = 0
    for weight in codec.weights:
        checksum = zlib.crc32(ops.convert_to_numpy(weight).astype("<f4").tobytes(), checksum)
    return checksum


def analysed(codec: ImageCodec, image: np.ndarray, knots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compute the latents of each strip of a photo, whose edges are padded to whole hyper-latents.

    Args:
        codec: Trained codec.
        image: uint8 (height, width, 3 or 1).
        knots: Knot weights of the quality, (1, num_knots).

    Yields:
        Latents (strip height / 8, width / 8, latent_dim), not rounded, and hyper-latents, a quarter as high and wide,
        that depend on this strip alone. Both are float32.
    """
    height, width, channels = image.shape
    below, beside = (-side % codec.multiple for side in (height, width))
    halo, hyper_size = reach(codec, 0), codec.multiple // PATCH_SIZE

    def analyse(pixels):
        pixels = np.repeat(pixels, CHANNELS // channels, axis=2)
        return codec.analyse(pixels[None] / np.float32(255), knots)

    def hyper_analyse(latents):
        return codec.entropy_model.hyper_latents(latents[None])

    for top in range(0, height, STRIP):
        first, bottom = max(0, top - halo), min(top + STRIP, height + below)
        missing = max(0, min(bottom + halo, height + below) - height)
        pixels = np.pad(image[first : bottom + halo], [(0, missing), (0, beside), (0, 0)], "edge")
        rows, columns = (bottom - top) // PATCH_SIZE, pixels.shape[1] // PATCH_SIZE
        latents = np.empty((rows, columns, codec.latent_dim), "float32")
        in_tiles(analyse, pixels, latents, top - first, TILE, halo)
        hyper = np.empty((rows // hyper_size, columns // hyper_size, codec.hyper_dim), "float32")
        in_tiles(hyper_analyse, latents, hyper, 0, TILE // PATCH_SIZE, HYPER_HALO // PATCH_SIZE)
        yield latents, hyper


def synthesised(codec: ImageCodec, strips: Iterable[np.ndarray], image: np.ndarray, knots):
    """Decode strips of latents into a photo.

    Args:
        codec: Trained codec.
        strips: Rounded latents (strip height / 8, width / 8, latent_dim) from top to bottom.
        image: uint8 (height, width, 3 or 1) to fill.
        knots: Knot weights of the quality, (1, num_knots).
    """
    halo, rows = reach(codec, 1) // PATCH_SIZE, len(image) // PATCH_SIZE
    latents, start, done = np.empty((0, image.shape[1] // PATCH_SIZE, codec.latent_dim), "float32"), 0, 0

    def synthesise(values):
        pixels = np.rint(255 * ops.convert_to_numpy(codec.synthesise(ops.convert_to_tensor(values[None]), knots)))
        return pixels if image.shape[2] == CHANNELS else np.rint(pixels.mean(axis=3, keepdims=True))

    for strip in strips:
        used = max(0, done - halo - start)  # rows that no further pixel depends on
        latents, start = np.concatenate([latents[used:], strip]), start + used
        end = start + len(latents)
        stop = end if end == rows else max(done, end - halo)
        part = image[PATCH_SIZE * done : PATCH_SIZE * stop]
        in_tiles(synthesise, latents, part, done - start, TILE // PATCH_SIZE, halo)
        done = stop


def reach(codec: ImageCodec, part: int) -> int:
    """Compute the halo of a tile in pixels, a multiple of a patch, for the encoder (part 0) or the decoder (part 1)."""
    return -(-(REACH[part] + BLOCK_REACH * codec.num_blocks[part]) // PATCH_SIZE) * PATCH_SIZE


def in_tiles(function: Callable, array: np.ndarray, result: np.ndarray, first: int, tile: int, halo: int):
    """Fill an array with the values of a function, tile by tile.

    Args:
        function: Function of a tile (rows, columns, values) with its halo. Its value has a batch axis of size 1, and
            sides in the ratio of `result` to `array`.
        array: (rows, columns, values).
        result: (rows, columns, values) to fill.
        first: Row of `array` at which `result` begins.
        tile: Rows and columns of a tile of `array`.
        halo: Rows and columns of `array` around a tile, fewer at its edges.
    """
    columns = array.shape[1]
    ratio = result.shape[1] / columns  # a power of two
    rows = int(len(result) / ratio)
    for top in range(first, first + rows, tile):
        for left in range(0, columns, tile):
            bottom, right = min(top + tile, first + rows), min(left + tile, columns)
            y, x = max(0, top - halo), max(0, left - halo)
            output = ops.convert_to_numpy(function(array[y : bottom + halo, x : right + halo]))[0]
            inner = [slice(int(a * ratio), int(b * ratio)) for a, b in ((top - y, bottom - y), (left - x, right - x))]
            place = [slice(int(a * ratio), int(b * ratio)) for a, b in ((top - first, bottom - first), (left, right))]
            result[tuple(place)] = output[tuple(inner)]
