import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from keras_recon.images.claims import MAX_MEGAPIXELS
from keras_recon.images.files import BadImage, identify, open_file
from keras_recon.images.reading import BACKWARDS, orientation_of, upright_size

END = b"\xff\xd9"
STRAY = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # what is no pixels behind the header, nor a mark among them


class JPEGHeader(NamedTuple):
    """What the header of a JPEG file says.

    Attributes:
        height, width: of the upright photo.
        orientation: by EXIF, 1 to 8.
    """

    height: int
    width: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) as it lies in the file."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)

    def as_stored(self, corner: tuple[int, int], size: tuple[int, int]) -> tuple:
        """Corner (top, left) and size (height, width) in the file of a window of the upright photo."""
        corner = [
            side - start - length if self.orientation in backwards else start
            for side, start, length, backwards in zip(self[:2], corner, size, BACKWARDS)
        ]
        return (corner[::-1], size[::-1]) if self.orientation > 4 else (corner, size)


def jpeg_header(path: str | Path) -> JPEGHeader | None:
    """The header of a JPEG file whose windows are those of a decoding in full; None of others.

    Those are whole, gray or in three colours, and in one scan. Of damaged files, and of progressive ones, whose missing
    scans decoders make up for, a window could be another than it is of the whole, or could be there where that is bad.

    Example:

    >>> photo = keras_recon.images.ImageFile(np.zeros((48, 64, 3), "uint8"))
    >>> keras_recon.images.write_image("a.jpg", photo)
    >>> jpeg_header("a.jpg")
    JPEGHeader(height=48, width=64, orientation=1)
    """
    with suppress(BadImage), open_file(path) as file, identify(file, MAX_MEGAPIXELS) as image:
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or image.info.get("progressive"):
            return None
        pixels = file.read()  # Pillow has read the header
        if not pixels.endswith(END) or STRAY.search(pixels, 0, len(pixels) - len(END)):
            return None
        orientation = orientation_of(image)
        return JPEGHeader(*upright_size(image), orientation if orientation in range(1, 9) else 1)
    return None
