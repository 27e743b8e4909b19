"""Anomaly detection: a model trained on good images reconstructs defects badly, and the error shows where they are."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage
from matplotlib.figure import Figure

from keras_recon.data.sources import EXTENSIONS
from keras_recon.evaluation import figures
from keras_recon.images import read_image

GOOD = "good"


@dataclass(frozen=True)
class LabeledImage:
    """A test image: its file, the `kind` of its defect ("good" for none) and the file of its ground truth."""

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


def load_images(folder: Path) -> list[LabeledImage]:
    """The test images of a folder laid out as MVTec AD: test/good, test/<kind>, ground_truth/<kind>.

    The ground truth of `test/crack/7.png` is `ground_truth/crack/7.png` or `7_mask.png`, of any image type.
    """
    found = []
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


def error_map(image: np.ndarray, reconstruction: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Squared error, mean over channels, of (height, width, channels) in [0, 1], smoothed: (height, width).

    Args:
        sigma: standard deviation in pixels of the Gaussian that smooths it, as a defect is more than a pixel.
    """
    return scipy.ndimage.gaussian_filter(np.square(image - reconstruction).mean(axis=-1), sigma)


def image_score(errors: np.ndarray) -> float:
    """How anomalous an image is: the maximum of its error map."""
    return float(errors.max())


def auroc(images: list[LabeledImage], maps: list[np.ndarray]) -> dict[str, float]:
    """Areas under the ROC curve, 0.5 for a guess and 1 for no mistake, of error maps (height, width) of test images.

    Returns:
        `image AUROC` of the image scores over all images, `pixel AUROC` of the maps over all pixels, and by the name
        of each kind the image AUROC of this kind against the good ones.
    """
    from sklearn.metrics import roc_auc_score  # a second to import

    kinds = np.array([image.kind for image in images])
    scores = np.array([image_score(errors) for errors in maps])
    masks = [image.mask(errors.shape).ravel() for image, errors in zip(images, maps)]
    results = {
        "image AUROC": roc_auc_score(kinds != GOOD, scores),
        "pixel AUROC": roc_auc_score(np.concatenate(masks), np.concatenate([errors.ravel() for errors in maps])),
    }
    for kind in sorted({*kinds} - {GOOD}):
        chosen = (kinds == kind) | (kinds == GOOD)
        results[kind] = roc_auc_score(kinds[chosen] != GOOD, scores[chosen])
    return {name: float(value) for name, value in results.items()}


def save_heat_maps(
    path: str | Path, photos: list[np.ndarray], images: list[LabeledImage], maps: dict[str, list[np.ndarray]]
):
    """The first image of each kind, its defect by the ground truth, and the error maps.

    Args:
        path: of the PNG.
        photos: (height, width, channels) in [0, 1].
        images: what the photos are.
        maps: the error maps (height, width) of every photo by the model's name. A model's colours end at the highest
            thousandth of all its errors.
    """
    kinds = [image.kind for image in images]
    chosen = [kinds.index(kind) for kind in sorted(set(kinds))]
    figure = Figure(figsize=(2 * (len(maps) + 2), 2.2 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(maps) + 2, squeeze=False)
    tops = {name: np.quantile(np.concatenate([m.ravel() for m in of_model]), 0.999) for name, of_model in maps.items()}
    for row, index in zip(axes, chosen):
        figures.show(row[0], photos[index])
        row[0].set_ylabel(kinds[index])
        figures.show(row[1], images[index].mask(photos[index].shape[:2])[..., None])
        for axis, (name, of_model) in zip(row[2:], maps.items()):
            figures.show(axis, of_model[index][..., None], cmap="inferno", vmax=tops[name])
    for axis, title in zip(axes[0], ("image", "defect", *maps)):
        axis.set_title(textwrap.fill(title, 22), fontsize=9)
    figures.save(figure, path)
