"""The figures of runs and comparisons, as PNG files."""

import textwrap
from pathlib import Path

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_recon.evaluation.verdicts import Entry
from keras_recon.metrics import psnr
from keras_recon.models import MaskedReconstructor
from keras_recon.utils.files import replacing

PCA_COLOR = "0.35"
MARKERS = "osD^vP*X"


def color(index: int) -> str:
    """The colour of the row `index` in every figure."""
    return f"C{index % 10}"


def save_reconstructions(path: str | Path, degraded: np.ndarray, clean: np.ndarray, outputs: np.ndarray):
    """A PNG with one row an image: original, degraded (where it differs), reconstruction and absolute error.

    All arrays (images, height, width, channels) in [0, 1]; 1, 3 or 4 channels are shown as gray, RGB or RGBA, of other
    numbers the first. PSNR stands above each reconstruction; one colour bar holds for all error maps.
    """
    pictures = {"original": clean, "degraded": degraded, "reconstruction": outputs}
    if np.array_equal(degraded, clean):
        del pictures["degraded"]
    decibels = ops.convert_to_numpy(psnr(clean, outputs))
    errors = np.abs(clean - outputs).mean(axis=-1)
    rows, columns = len(clean), len(pictures) + 1
    figure = Figure(figsize=(2.2 * columns + 0.6, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for axis, (title, images) in zip(axes[row], pictures.items()):
            show(axis, images[row])
            axis.set_title(title, fontsize=9)
        axes[row, -2].set_title(f"reconstruction, {decibels[row]:.2f} dB", fontsize=9)
        shown = show(axes[row, -1], errors[row][..., None], "inferno", np.quantile(errors, 0.99))
        axes[row, -1].set_title("absolute error", fontsize=9)
    figure.colorbar(shown, ax=axes[:, -1], shrink=0.6, extend="max", label="mean over channels, pixels in [0, 1]")
    save(figure, path)


def save_masked(path: str | Path, model: MaskedReconstructor, clean: np.ndarray):
    """A PNG with one row an image: original, what a masked model sees, what it decodes, its output; PSNR underneath.

    Images (images, height, width, channels) in [0, 1].
    """
    shown = {
        "all patches decoded": model.reconstruct_masked(clean),
        "visible patches pasted back": model(clean, training=False),
    }
    shown = {title: ops.convert_to_numpy(images) for title, images in shown.items()}
    decibels = {title: ops.convert_to_numpy(psnr(clean, images)) for title, images in shown.items()}
    save_grid(path, {"original": clean, "what the model sees": model.visible_part(clean), **shown}, decibels)


def save_convergence(path: str | Path, entries: list[Entry], pca_psnr: float):
    """Validation PSNR against seconds of training and against steps: a thin line per seed, a thick one for the mean.

    Args:
        path: of the PNG.
        entries: the trained models with their curves.
        pca_psnr: in dB, of PCA on the same validation crops.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for index, entry in enumerate(entries):
        style = {"color": color(index), "marker": MARKERS[index % len(MARKERS)], "markersize": 4}
        shortest = min(len(curve.psnr) for curve in entry.curves)
        for axis, name in zip(axes, ("seconds", "steps")):
            if len(entry.curves) > 1:
                for curve in entry.curves:
                    axis.plot(getattr(curve, name), curve.psnr, color=color(index), linewidth=0.8, alpha=0.5)
            x, y = (np.mean([getattr(c, n)[:shortest] for c in entry.curves], axis=0) for n in (name, "psnr"))
            axis.plot(x, y, label=entry.label, linewidth=1.8, **style)
    for axis, name in zip(axes, ("seconds of training and validation", "optimizer steps")):
        axis.axhline(pca_psnr, color=PCA_COLOR, linestyle="--", linewidth=1.2, label="PCA")
        axis.set_xlabel(name)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    # Runs that begin far below would press the others together: every run's best and PCA stay in sight.
    values = [curve.psnr for entry in entries for curve in entry.curves]
    bottom = max(min(v.min() for v in values), min(pca_psnr, *(v.max() for v in values)) - 2)
    top = max(pca_psnr, *(v.max() for v in values))
    axes[0].set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axes[0].set_ylabel("validation PSNR (dB)")
    _legend(figure, axes[0])
    save(figure, path)


def save_rate(path: str | Path, points: dict[str, tuple[float, float]], curves: dict[str, list[tuple[float, float]]]):
    """PSNR against bytes per image: a point for each system, a curve for each codec; (bytes, dB) each.

    A point named `pca` is drawn as the baseline.
    """
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    for name, curve in curves.items():
        style = {"linestyle": "-" if name == "jpeg" else "--", "color": "0.6", "marker": ".", "linewidth": 1.2}
        axis.plot(*zip(*curve), label=f"{name}, by quality", zorder=1, **style)
    for index, (name, (size, decibels)) in enumerate(points.items()):
        # Hollow: models of equal bytes and quality stand one on the other.
        style = {"facecolors": "none", "edgecolors": color(index), "marker": MARKERS[index % len(MARKERS)]}
        style = {"color": PCA_COLOR, "marker": "x"} if name == "pca" else style
        axis.scatter(size, decibels, s=70, linewidths=2, label=name, zorder=2, **style)
    axis.set_xlabel("bytes per image (of the models: 8-bit latents, empirical entropy)")
    axis.set_ylabel("PSNR (dB) at these bytes")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    _legend(figure, axis)
    save(figure, path)


def save_grid(path: str | Path, pictures: dict[str, np.ndarray], psnr: dict[str, np.ndarray]):
    """The same images through every system: a row an image, a column a system, with PSNR in dB underneath.

    Args:
        path: of the PNG.
        pictures: (images, height, width, channels) in [0, 1] by the column's title.
        psnr: (images,) for the columns that have one.
    """
    first = next(iter(pictures.values()))
    rows, columns = len(first), len(pictures)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows * first.shape[1] / first.shape[2]), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for column, (title, images) in enumerate(pictures.items()):
        axes[0, column].set_title(textwrap.fill(title, 18), fontsize=9)
        for row in range(rows):
            axis = axes[row, column]
            show(axis, images[row])
            if title in psnr:
                axis.set_xlabel(f"{psnr[title][row]:.2f} dB", fontsize=8)
    save(figure, path)


def show(axis, image: np.ndarray, cmap: str = "gray", vmax: float = 1.0):
    """An image (height, width, channels) in [0, vmax]; 1, 3 or 4 channels are gray, RGB or RGBA, else the first."""
    pixels = image if image.shape[-1] in (3, 4) else image[..., 0]
    shown = axis.imshow(np.clip(pixels, 0, vmax), cmap=cmap, vmin=0, vmax=vmax)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return shown


def _legend(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)


def save(figure, path):
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
