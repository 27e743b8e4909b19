"""Photos to latents and back in strips, which go through the networks in tiles: no float array is of a whole photo."""

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
# Pixels on each side on which the outputs of encoder and decoder depend, beside `OF_BLOCK` for each block per level.
REACH, OF_BLOCK = (7, 22), 28
HYPER_HALO = 64  # pixels on each side, two hyper-latents, beyond which these see nothing


def analysed(codec: ImageCodec, image: np.ndarray, knots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Latents and hyper-latents of each strip of a photo, that is continued to whole hyper-latents at its edges.

    Args:
        codec: trained.
        image: uint8 (height, width, 3 or 1).
        knots: of the quality, (1, num_knots).

    Yields:
        Latents (strip height / 8, width / 8, latent_dim), not rounded, and hyper-latents, a quarter as high and wide,
        as if there were no other strips. Both are float32.
    """
    height, width, channels = image.shape
    below, beside = (-side % codec.multiple for side in (height, width))
    halo = reach(codec, 0)

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
        of_hyper = codec.multiple // PATCH_SIZE
        hyper = np.empty((rows // of_hyper, columns // of_hyper, codec.hyper_dim), "float32")
        in_tiles(hyper_analyse, latents, hyper, 0, TILE // PATCH_SIZE, HYPER_HALO // PATCH_SIZE)
        yield latents, hyper


def synthesised(codec: ImageCodec, strips: Iterable[np.ndarray], image: np.ndarray, knots):
    """Fill a photo, uint8 (height, width, 3 or 1) with sides of whole latents, with what strips of latents mean."""
    halo, rows = reach(codec, 1) // PATCH_SIZE, len(image) // PATCH_SIZE
    latents, start, done = np.empty((0, image.shape[1] // PATCH_SIZE, codec.latent_dim), "float32"), 0, 0

    def synthesise(values):
        pixels = np.rint(255 * ops.convert_to_numpy(codec.synthesise(ops.convert_to_tensor(values[None]), knots)))
        return pixels if image.shape[2] == CHANNELS else np.rint(pixels.mean(axis=3, keepdims=True))

    for strip in strips:
        seen = max(0, done - halo - start)  # by no pixel that is left
        latents, start = np.concatenate([latents[seen:], strip]), start + seen
        end = start + len(latents)
        stop = end if end == rows else max(done, end - halo)
        part = image[PATCH_SIZE * done : PATCH_SIZE * stop]
        in_tiles(synthesise, latents, part, done - start, TILE // PATCH_SIZE, halo)
        done = stop


def reach(codec: ImageCodec, part: int) -> int:
    """Pixels around a tile that the encoder, which is part 0, or the decoder must see, in whole patches."""
    return -(-(REACH[part] + OF_BLOCK * codec.num_blocks[part]) // PATCH_SIZE) * PATCH_SIZE


def in_tiles(function: Callable, array: np.ndarray, result: np.ndarray, first: int, tile: int, halo: int):
    """Fill a result with `function` of rows of an array, from `first` on, tile by tile.

    Args:
        function: of a tile; what it gives has a batch axis, of one, and sides in a fixed ratio to the tile's.
        array, result: (rows, columns, values); as `function` does, so differ their columns.
        first: row of the array at which the result begins.
        tile: rows and columns of the array.
        halo: rows and columns around a tile that `function` gets beside it, where there are any.
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


MAGIC = b"KRC"
VERSION = 1
# The magic number, version, checksum of the model's weights, quality, channels, height and width, checksum of the
# latents; before the coded latents comes the checksum of all of that and of them.
HEADER = struct.Struct("<3sBIBBHHI")
CHECKSUM = struct.Struct("<I")
MAX_PIXELS = 2**28
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
    steps = np.exp(ops.convert_to_numpy(ops.matmul(knots, codec.log_inverse_gain))[0])
    weights = CARE * codec.distortion_weight(step / MAX_QUALITY) / CHANNELS * np.square(steps)
    encoder = Encoder()

    def code(latents, bands, of_slice):
        coded, of_bands = [], []
        for at, means, scales in bands:
            symbols = _rounded(latents[(*at, of_slice)] - means / UNIT, scales, weights[of_slice])
            latents[(*at, of_slice)] = means + UNIT * symbols
            coded.append(symbols)
            of_bands.append(scales)
        encoder.encode(np.concatenate(coded), np.concatenate(of_bands))

    model, checksum = IntegerEntropyModel(codec.entropy_model, codec.num_knots), 0
    for latents, hyper in analysed(codec, image, knots):
        hyper = np.rint(hyper)
        encoder.encode(hyper, np.broadcast_to(model.hyper_scales, hyper.shape))
        checksum = _code(model, step, hyper, latents, code, checksum)
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
    decoder, found = Decoder(coded), 0
    image = np.empty((codec.multiple * rows, codec.multiple * columns, channels), "uint8")

    def code(latents, bands, of_slice):
        places, of_bands = [], []
        for at, means, scales in bands:
            latents[(*at, of_slice)] = means
            places.append(at)
            of_bands.append(scales)
        symbols = decoder.decode(np.concatenate(of_bands))
        for at, part in zip(places, np.split(symbols, np.cumsum([len(scales) for scales in of_bands])[:-1])):
            latents[(*at, of_slice)] += UNIT * part.astype("float64")

    def decoded():
        nonlocal found
        of_hyper, of_strip = codec.multiple // PATCH_SIZE, STRIP // codec.multiple
        for top in range(0, rows, of_strip):
            shape = (min(rows - top, of_strip), columns)
            hyper = decoder.decode(np.broadcast_to(model.hyper_scales, (*shape, len(model.hyper_scales))))
            latents = np.zeros((*(of_hyper * side for side in shape), codec.latent_dim), "float32")
            found = _code(model, step, hyper, latents, code, found)
            yield latents / np.float32(UNIT)

    try:
        with np.errstate(invalid="ignore"):  # damaged latents are found at the end, and may mean no numbers
            synthesised(codec, decoded(), image, codec.knots(np.array([step / MAX_QUALITY], "float32")))
    except AssertionError:  # of constriction, where bytes cannot be
        found = None
    if found != checksum:
        raise ValueError("it is damaged: its latents have another checksum")
    return image[:height, :width]


def _code(
    model: IntegerEntropyModel, step: int, hyper: np.ndarray, latents: np.ndarray, code: Callable, checksum: int
) -> int:
    """What sender and receiver compute alike of a strip, slice by slice and half by half; its checksum is returned.

    Args:
        model: of the codec.
        step: of the quality.
        hyper: the hyper-latents.
        latents: (rows, columns, channels), which become the decoded ones, in whole numbers of 1 / `UNIT`.
        code: of the latents, of what `model.parameters` gives, and of channels, which it decodes in place.
        checksum: of the strips before, which that of this one goes on from.
    """
    checksum, start = zlib.crc32(hyper.astype("<i8").tobytes(), checksum), 0
    features = model.features(hyper, step)
    for index, size in enumerate(model.slices):
        of_slice = slice(start, start + size)
        for half in (0, 1):
            code(latents, model.parameters(index, half, features, latents), of_slice)
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
