"""What a file claims is bounded by what it can hold, before any memory is taken for it."""

import math
from contextlib import suppress
from pathlib import Path

import psutil
from PIL import Image

MAX_MEGAPIXELS = 250
DEFLATE = 1032  # times: the most that its codes of at least a bit make of a file
# Pixels that a byte can hold. JPEG: a block of 64 has a code of at least a bit. GIF: a code of 12 bits stands for 4096
# pixels at most. BMP: a run of 2 bytes for 255.
MOST_PIXELS = {"JPEG": 8 * 64, "MPO": 8 * 64, "GIF": 4096 / 1.5, "BMP": 128}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
NEEDED = 12  # bytes a pixel and 8 bits of depth, while it is decoded: Pillow has 4, the array 3 or 4, what is turned 4
ALWAYS_THERE = 2**28  # bytes that nobody asks for
CGROUP = Path("/sys/fs/cgroup")


def check_size(width: int, height: int, max_megapixels: float, bytes_per_sample: int = 1):
    """Refuse an image that has too many pixels, or more than fit into the memory that is left."""
    if width * height > max_megapixels * 1e6:
        raise ValueError(f"it must have at most {max_megapixels:g} megapixels. Received: {width}x{height} pixels")
    need = width * height * NEEDED * bytes_per_sample
    if need > ALWAYS_THERE and need > (room := memory_left()):
        raise ValueError(
            f"it takes {need / 1e9:.1f} GB, of which {room / 1e9:.1f} are left. Received: {width}x{height} pixels"
        )


def check_claim(image: Image.Image, header: bytes, size: int):
    """Refuse an opened image with more pixels than a file of so many bytes can hold, by its format.

    WebP has no such bound, as it describes areas.
    """
    if image.format == "PNG":
        bits = header[24] * PNG_CHANNELS[header[25]]
        fits = image.height * math.ceil(image.width * bits / 8) <= DEFLATE * size
    elif image.format == "BMP" and image.tile[0].codec_name == "raw":
        _, stride, _ = image.tile[0].args
        fits = image.height * stride <= size
    else:
        fits = image.width * image.height <= MOST_PIXELS.get(image.format, math.inf) * size
    if not fits:
        raise ValueError(f"its {size} bytes cannot hold its pixels. Received: {image.width}x{image.height} pixels")


def memory_left() -> int:
    """Bytes of memory that are left on the machine, or to the control group of a container."""
    room = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # there is no such group, or no limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        room = min(room, limit - used + int(statistics["inactive_file"]))  # cached files make way
    return room
