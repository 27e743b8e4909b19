"""Heat maps of defects as a PNG."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_recon.anomaly.dataset import LabeledImage
from keras_recon.evaluation import figures


def save_heat_maps(
    path: str | Path, photos: list[np.ndarray], images: list[LabeledImage], maps: dict[str, list[np.ndarray]]
):
    """The first image of each kind, its defect by the ground truth, and the maps over the image.

    Args:
        path: of the PNG.
        photos: (height, width, channels) in [0, 1].
        images: what the photos are.
        maps: (height, width) of every photo by the model's name. A model's colours begin at the highest
            tenth of all its values and end at the highest thousandth.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> photos = [np.zeros((32, 32, 1))] * len(images)
    >>> keras_recon.anomaly.save_heat_maps("maps.png", photos, images, {"a detector": maps})
    """
    kinds = [image.kind for image in images]
    chosen = [kinds.index(kind) for kind in sorted(set(kinds))]
    figure = Figure(figsize=(2 * (len(maps) + 2), 2.2 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(maps) + 2, squeeze=False)
    # Nine pixels of ten are as the photo: distances of features are far from zero everywhere.
    ranges = {
        name: np.quantile(np.concatenate([m.ravel() for m in of_model]), (0.9, 0.999))
        for name, of_model in maps.items()
    }
    for row, index in zip(axes, chosen):
        figures.show(row[0], photos[index])
        row[0].set_ylabel(kinds[index])
        figures.show(row[1], images[index].mask(photos[index].shape[:2])[..., None])
        for axis, (name, of_model) in zip(row[2:], maps.items()):
            figures.show(axis, photos[index])
            low, high = ranges[name]
            heat = np.clip((of_model[index] - low) / max(high - low, 1e-9), 0, 1)
            axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.8 * heat**0.5)
    for axis, title in zip(axes[0], ("image", "defect", *maps)):
        axis.set_title(textwrap.fill(title, 22), fontsize=9)
    figures.save(figure, path)
