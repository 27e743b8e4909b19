"""Test images in the folder layout of MVTec AD."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_recon.evaluation import figures
from keras_recon.images import SUFFIXES, read_image

GOOD = "good"


@dataclass(frozen=True)
class LabeledImage:
    """A test image with its ground truth.

    Attributes:
        path: image file.
        kind: name of the kind of defect; "good" without a defect.
        truth: file of the ground truth; None without a defect.

    Example:
    >>> image = keras_recon.anomaly.LabeledImage("tiles/test/good/0.png", "good", truth=None)
    >>> bool(image.mask((32, 32)).any())
    False
    """

    path: Path
    kind: str
    truth: Path | None

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Return where the defect is, boolean of `shape` (height, width): the pixels of the ground truth above 0."""
        if self.truth is None:
            return np.zeros(shape, bool)
        mask = read_image(self.truth).pixels.any(axis=-1)
        if mask.shape != tuple(shape):
            raise ValueError(f"{self.truth} must have the size of its image, {shape}. Received: {mask.shape}")
        if not mask.any():
            raise ValueError(f"{self.truth} must mark a defect. Received: 0 everywhere")
        return mask


def load_images(folder: str | Path) -> list[LabeledImage]:
    """List the test images of a folder in the layout of MVTec AD: test/good, test/<kind>, ground_truth/<kind>.

    The ground truth of `test/crack/7.png` is `ground_truth/crack/7.png` or `7_mask.png`, of any image type.

    Raises:
        ValueError: if good images, images with defects or a ground truth are missing.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> [image.kind for image in images]
    ['good', 'good', 'good', 'hole', 'hole', 'scratch', 'scratch']
    """
    folder, found = Path(folder), []
    for path in sorted(p for p in (folder / "test").glob("*/*") if p.suffix.lower() in SUFFIXES):
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


def save_heat_maps(
    path: str | Path, photos: list[np.ndarray], images: list[LabeledImage], maps: dict[str, list[np.ndarray]]
):
    """Draw the first image of each kind, its ground truth, and the anomaly maps over the image.

    Args:
        path: PNG file.
        photos: photos (height, width, channels) in [0, 1].
        images: labels of the photos.
        maps: anomaly maps (height, width) of all photos, by the name of the model. The colours of a model range from
            the 90 % quantile of its values to the 99.9 % quantile.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # of a perfect detector
    >>> photos = [np.zeros((32, 32, 1))] * len(images)
    >>> keras_recon.anomaly.save_heat_maps("maps.png", photos, images, {"a detector": maps})
    """
    kinds = [image.kind for image in images]
    chosen = [kinds.index(kind) for kind in sorted({*kinds})]
    figure = Figure(figsize=(2 * (len(maps) + 2), 2.2 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(maps) + 2, squeeze=False)
    for row, index in zip(axes, chosen):
        figures.show(row[0], photos[index])
        row[0].set_ylabel(kinds[index])
        figures.show(row[1], images[index].mask(photos[index].shape[:2])[..., None])
        for axis, of_model in zip(row[2:], maps.values()):
            figures.show(axis, photos[index])
            low, high = np.quantile(np.concatenate([m.ravel() for m in of_model]), (0.9, 0.999))
            heat = np.clip((of_model[index] - low) / max(high - low, 1e-9), 0, 1)
            axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.8 * heat**0.5)
    for axis, title in zip(axes[0], ("image", "defect", *maps)):
        axis.set_title(textwrap.fill(title, 22), fontsize=9)
    figures.save(figure, path)
