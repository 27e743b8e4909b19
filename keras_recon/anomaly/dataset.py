"""Test images with their defects, laid out as the data sets of MVTec AD."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_recon.data.files import EXTENSIONS
from keras_recon.images import read_image

GOOD = "good"


@dataclass(frozen=True)
class LabeledImage:
    """A test image: its file, the `kind` of its defect ("good" for none) and the file of its ground truth.

    Example:

    >>> image = keras_recon.anomaly.LabeledImage("tiles/test/good/0.png", "good", truth=None)
    >>> bool(image.mask((32, 32)).any())
    False
    """

    path: Path
    kind: str
    truth: Path | None

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Where the defect is, the ground truth above 0, boolean (height, width); nowhere in a good image."""
        if self.truth is None:
            return np.zeros(shape, bool)
        mask = read_image(self.truth).pixels.any(axis=-1)
        if mask.shape != tuple(shape):
            raise ValueError(f"{self.truth} must have the size of its image, {shape}. Received: {mask.shape}")
        if not mask.any():
            raise ValueError(f"{self.truth} must mark a defect. Received: 0 everywhere")
        return mask


def load_images(folder: str | Path) -> list[LabeledImage]:
    """The test images of a folder laid out as MVTec AD: test/good, test/<kind>, ground_truth/<kind>.

    The ground truth of `test/crack/7.png` is `ground_truth/crack/7.png` or `7_mask.png`, of any image type.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> [image.kind for image in images]
    ['good', 'good', 'good', 'hole', 'hole', 'scratch', 'scratch']
    """
    folder, found = Path(folder), []
    for path in sorted(p for p in (folder / "test").glob("*/*") if p.suffix.lower() in EXTENSIONS):
        kind, truth = path.parent.name, None
        if kind != GOOD:
            masks = (folder / "ground_truth" / kind).glob("*")
            truth = next((p for p in masks if p.stem in (path.stem, f"{path.stem}_mask")), None)
            if truth is None:
                raise ValueError(f"Found no ground truth in {folder / 'ground_truth' / kind} for {path}")
        found.append(LabeledImage(path, kind, truth))
    if len({image.kind == GOOD for image in found}) < 2:
        raise ValueError(f"{folder} must have good images in test/good and defects in test/<kind>. Received: {folder}")
    return found
