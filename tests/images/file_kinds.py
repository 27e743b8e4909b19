"""Small files of every kind, with the pixels that each must give: (height, width, channels), gray or RGB, with alpha.

TIFF: what tifffile reads of the file, which must be what was written, in the colours that TIFF 6.0 says. PNG: what was
written. BMP: none, as Pillow is the reference.
"""

import io
import itertools
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image, ImageOps

SIZES = ((1, 1), (7, 19), (20, 33))  # (height, width)
COLOURS = {"minisblack": 1, "miniswhite": 1, "palette": 1, "rgb": 3, "separated": 4}
ALPHA = (None, "unassalpha", "assocalpha")
BITS = (1, 2, 4, 8, 12, 14, 16, "float")
COMPRESSIONS = (None, "zlib", "lzw", "packbits", "lzma", "zstd", "jpeg")
LAYOUTS = ({}, {"rowsperstrip": 3}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}, {"predictor": True})


def tiffs(rng):
    """Endless kinds of TIFF: name, file, pixels."""
    kinds = [*itertools.product(COLOURS, ALPHA, BITS, (False, True), COMPRESSIONS, LAYOUTS)]
    while True:
        for index in rng.permutation(len(kinds)):
            photometric, alpha, bits, separate, compression, layout = kinds[index]
            many = COLOURS[photometric] + bool(alpha) > 1
            possible = (
                (not alpha or photometric in ("minisblack", "rgb"))
                and (bits in (8, 16) or (photometric in ("minisblack", "miniswhite") and not alpha) or bits == "float")
                and (bits != "float" or photometric in ("minisblack", "rgb"))
                and (bits in (1, 8, 16, "float") or compression is None)  # tifffile writes no others
                and not (bits in (12, 14) and "byteorder" in layout)  # and these wrongly
                and (many or not separate)
                and (compression != "jpeg" or (bits == 8 and photometric in ("minisblack", "rgb") and not alpha))
                and ("predictor" not in layout or (compression in ("zlib", "lzw", "zstd") and bits != 1))
                and (photometric != "palette" or bits == 8)
            )
            if possible:
                yield tiff(rng, *kinds[index], orientation=int(rng.integers(1, 9)))


def tiff(rng, photometric, alpha, bits, separate, compression, layout, orientation):
    height, width = SIZES[rng.integers(len(SIZES))]
    if compression == "jpeg":
        height, width = 32, 48
    top = 1 if bits == "float" else 2**bits - 1
    dtype = "float32" if bits == "float" else "bool" if bits == 1 else "uint8" if bits <= 8 else "uint16"
    shape = (height, width, COLOURS[photometric] + bool(alpha))
    values = rng.random(shape, "float32") if bits == "float" else rng.integers(0, top + 1, shape)
    if alpha == "assocalpha":
        values = np.where(np.arange(shape[2]) < shape[2] - 1, values * (values[..., -1:] / top), values)
        values = values if bits == "float" else np.rint(values)
    stored = values.astype(dtype)
    options = {"extrasamples": [alpha]} if alpha else {}
    if photometric == "palette":
        options["colormap"] = rng.integers(0, 256, (3, 256), dtype="uint16") * 257
    if shape[2] > 1:
        options["planarconfig"] = "separate" if separate else "contig"
    written = np.moveaxis(stored, -1, 0) if separate else stored.squeeze(2) if shape[2] == 1 else stored
    if bits in (2, 4, 12, 14):
        options["bitspersample"] = bits
    buffer = io.BytesIO()
    tag = (274, "H", 1, orientation, True)
    options |= {"photometric": photometric, "compression": compression, "extratags": [tag], **layout}
    tifffile.imwrite(buffer, written, **options, metadata=None)
    data = buffer.getvalue()
    read = tifffile.imread(io.BytesIO(data)).reshape(written.shape)
    assert compression == "jpeg" or np.array_equal(read, written)
    stored = (np.moveaxis(read, 0, -1) if separate else read).reshape(shape)
    name = f"{photometric} {alpha} {bits} {'separate ' * separate}{compression} {layout} {orientation} {shape}"
    return name, data, turned(pixels_of(stored, photometric, alpha, top, options.get("colormap")), orientation)


def pixels_of(stored, photometric, alpha, top, colormap):
    """What TIFF 6.0 says that such samples look like, in 8 or 16 bits."""
    full = 65535 if top > 255 else 255
    dtype = "uint16" if top > 255 else "uint8"
    if photometric == "palette":
        return (colormap.T[stored[..., 0]] // 257).astype("uint8")
    values = stored.astype("float64") / top
    if photometric == "miniswhite":
        values = 1 - values
    if photometric == "separated":
        values = (1 - values[..., :3]) * (1 - values[..., 3:])
    if alpha == "assocalpha":
        opacity = values[..., -1:]
        colours = np.divide(values[..., :-1], opacity, out=np.zeros_like(values[..., :-1]), where=opacity > 0)
        values = np.concatenate([colours.clip(0, 1), opacity], axis=2)
    return np.rint(values * full).astype(dtype)


def turned(pixels, orientation):
    """Upright as Pillow turns it."""
    places = Image.fromarray(np.arange(pixels[..., 0].size, dtype="int32").reshape(pixels.shape[:2]))
    places.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(places))
    return pixels.reshape(-1, pixels.shape[2])[upright]


PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))  # Adam7


def pngs(rng):
    """Endless kinds of PNG: name, file, pixels."""
    types = [(color, depth) for color, depths in PNG_DEPTHS.items() for depth in depths]
    kinds = [*itertools.product(types, (False, True), (False, True), (False, True), range(1, 9))]
    while True:
        for index in rng.permutation(len(kinds)):
            yield png(rng, *kinds[index])


def png(rng, type_and_depth, interlaced, transparent, animated, orientation):
    color, depth = type_and_depth
    height, width = SIZES[rng.integers(len(SIZES))]
    top = 2**depth - 1
    stored = rng.integers(0, top + 1, (height, width, PNG_SAMPLES[color]))
    full, dtype = (65535, "uint16") if depth == 16 else (255, "uint8")
    scale = 1 if depth == 16 else 255 // top
    palette = rng.integers(0, 256, (top + 1, 3), dtype="uint8")
    pixels = palette[stored[..., 0]] if color == 3 else (stored * scale).astype(dtype)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))]
    if animated:
        chunks += [(b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", frame(0, width, height))]
    exif = Image.Exif()
    exif[274] = orientation
    chunks.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    if color == 3:
        chunks.append((b"PLTE", palette.tobytes()))
    if transparent and color in (0, 2):
        hidden = stored[0, 0]
        chunks.append((b"tRNS", struct.pack(f">{len(hidden)}H", *hidden)))
        alpha = np.where((stored == hidden).all(axis=2, keepdims=True), 0, full).astype(dtype)
        pixels = np.concatenate([pixels, alpha], axis=2)
    if transparent and color == 3:
        opacities = rng.integers(0, 256, top + 1, dtype="uint8")
        chunks.append((b"tRNS", opacities.tobytes()))
        pixels = np.concatenate([pixels, opacities[stored[..., 0]][..., None]], axis=2)
    data = zlib.compress(rows(stored, depth, interlaced))
    chunks.append((b"IDAT", data))
    if animated:
        black = zlib.compress(rows(stored * 0, depth, interlaced))
        chunks += [(b"fcTL", frame(1, width, height)), (b"fdAT", struct.pack(">I", 2) + black)]
    file = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*item) for item in [*chunks, (b"IEND", b"")])
    name = f"color type {color}, {depth} bits{', interlaced' * interlaced}{', tRNS' * transparent}{', APNG' * animated}"
    return f"{name}, {orientation}, {height}x{width}", file, turned(pixels, orientation)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def frame(number, width, height):
    return struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0)


def rows(stored, depth, interlaced):
    """Filtered rows of all passes; the filter leaves them as they are."""
    parts = [stored[top::down, left::across] for top, down, left, across in PASSES] if interlaced else [stored]
    text = b""
    for part in (part for part in parts if part.size):
        flat = part.reshape(len(part), -1)
        if depth < 8:
            bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
            packed = np.packbits(bits.reshape(len(part), -1).astype("uint8"), axis=1)
        else:
            packed = flat.astype(f">u{depth // 8}").view("uint8")
        text += b"".join(b"\0" + row.tobytes() for row in packed)
    return text


MASKS = {"565": (0xF800, 0x7E0, 0x1F), "555": (0x7C00, 0x3E0, 0x1F)}


def bmps(rng):
    """Endless kinds of BMP: name, file, None: what Pillow reads is the reference."""
    while True:
        for bits, downwards in itertools.product((1, 4, 8, 16, "555", "565", 24, 32, "rle8"), (False, True)):
            yield bmp(rng, bits, downwards)


def bmp(rng, bits, downwards):
    height, width = SIZES[rng.integers(len(SIZES))]
    depth = {"555": 16, "565": 16, "rle8": 8}.get(bits, bits)
    stride = (width * depth + 31) // 32 * 4
    pixels = rng.integers(0, 256, height * stride, dtype="uint8").tobytes()
    if bits == "rle8":
        runs = rng.integers(0, 256, (height, width), dtype="uint8")
        pixels = b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in runs) + b"\0\1"
        downwards = False
    compression = 1 if bits == "rle8" else 3 if bits in MASKS else 0
    colours = 2**depth if depth <= 8 else 0
    tables = struct.pack("<3I", *MASKS[bits]) if bits in MASKS else rng.bytes(4 * colours)
    sizes = (40, width, -height if downwards else height, 1, depth, compression, len(pixels), 0, 0, colours, 0)
    head = struct.pack("<IiiHHIIiiII", *sizes) + tables
    start = 14 + len(head)
    data = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + pixels
    return f"{bits} bits{', downwards' * downwards}, {height}x{width}", data, None
