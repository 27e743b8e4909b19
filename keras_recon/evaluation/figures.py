"""Figures of runs and comparisons as PNG files. Images have the shape (images, height, width, channels), in [0, 1]."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from keras import ops
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image

from keras_recon.evaluation.comparison import Entry
from keras_recon.metrics import psnr
from keras_recon.models import MaskedReconstructor
from keras_recon.utils.files import replacing

PCA_COLOR = "0.35"
MARKERS = "osD^vP*X"
ERROR_COLORS = matplotlib.colormaps["inferno"].resampled(32)  # more colours make large files
WIDTH = 9  # inches of the figure of a run
ENLARGED = 100  # pixels: figures enlarge smaller images
MASKED = "what the model sees"
UNSCORED = ("original", MASKED)  # pictures without a PSNR


def _style(index: int) -> dict:
    """Return the colour and the marker of the row `index` in all figures."""
    return {"color": f"C{index % 10}", "marker": MARKERS[index % len(MARKERS)]}


def save_reconstructions(path: str | Path, photo: dict[str, np.ndarray], crops: dict[str, np.ndarray]):
    """Draw a photo and crops through each system, with PSNR in dB and maps of the absolute error of the last system.

    All error maps have the same colour bar.

    Args:
        path: PNG file.
        photo: by title: the original, then the outputs, one image each. 1, 3 or 4 channels are shown as grayscale, RGB
            or RGBA, of other numbers only the first.
        crops: the same for several crops.
    """
    columns, count = len(photo) + 1, len(crops["original"])
    rows = -(-count // 2)  # two crops are side by side
    shapes = [pictures["original"].shape[1:3] for pictures in (photo, crops)]
    photo_height, crop_height = (WIDTH / columns * min(2, height / width) for height, width in shapes)
    heights = [photo_height + 0.6, rows * (crop_height / 2 + 0.2) + 0.9]  # including titles and colour bar
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    sizes = [f"{width}x{height} pixels" for height, width in shapes]
    top.suptitle(f"a whole validation photo ({sizes[0]}) and its PSNR", fontsize=10)
    bottom.suptitle(f"validation crops ({sizes[1]}) and the PSNR of each", fontsize=10)
    limit = max(1 / 255, np.quantile(_errors(crops), 0.99))
    shown = _show_row(top.subplots(1, columns), photo, 0, limit, titles=True)
    axes = bottom.subplots(rows, 2 * columns, squeeze=False)
    cells = axes.reshape(2 * rows, columns)
    for index in range(count):
        _show_row(cells[index], crops, index, limit, titles=index < 2)
    for axis in cells[count:].flat:
        axis.set_axis_off()
    bar = bottom.colorbar(shown, ax=list(axes.flat), location="bottom", shrink=0.5, aspect=40, extend="max")
    bar.set_label(f"absolute error of the {list(photo)[-1]}, mean over channels, pixels in [0, 1]", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    save(figure, path)


def _errors(pictures):
    *_, outputs = pictures.values()
    return np.abs(pictures["original"] - outputs).mean(axis=-1)  # (images, height, width)


def _show_row(axes, pictures, index, limit, titles):
    """Draw an image in all columns with its PSNR, and return its error map, which is drawn last."""
    original = pictures["original"]
    for axis, (title, images) in zip(axes, pictures.items()):
        _show_scored(axis, title, images[index], original[index])
    if titles:
        for axis, title in zip(axes, (*pictures, "absolute error")):
            axis.set_title(title, fontsize=8)
    return show(axes[-1], _errors(pictures)[index][..., None], ERROR_COLORS, limit)


def _show_scored(axis, title, image, original):
    show(axis, image)
    if title not in UNSCORED:
        decibels = float(psnr(original[None], image[None])[0])
        axis.set_xlabel(f"{decibels:.2f} dB", fontsize=8)


def save_masked(path: str | Path, model: MaskedReconstructor, clean: np.ndarray):
    """Draw a row per image: the original, the visible patches, the decoded patches, and the output, with PSNR in dB."""
    outputs = {
        "all patches decoded": model.reconstruct_masked(clean),
        "visible patches pasted back": model(clean, training=False),
    }
    outputs = {title: ops.convert_to_numpy(images) for title, images in outputs.items()}
    save_grid(path, {"original": clean, MASKED: model.visible_part(clean), **outputs})


def save_convergence(path: str | Path, entries: list[Entry], pca_psnr: float):
    """Draw validation PSNR against training seconds and steps: a thin line per seed, a thick line for their mean.

    Args:
        path: PNG file.
        entries: the trained systems.
        pca_psnr: PSNR in dB of PCA on the validation crops.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for index, entry in enumerate(entries):
        style = _style(index)
        shortest = min(len(curve.psnr) for curve in entry.curves)
        for axis, name in zip(axes, ("seconds", "steps")):
            if len(entry.curves) > 1:
                for curve in entry.curves:
                    axis.plot(getattr(curve, name), curve.psnr, color=style["color"], linewidth=0.8, alpha=0.5)
            x, y = (np.mean([getattr(c, n)[:shortest] for c in entry.curves], axis=0) for n in (name, "psnr"))
            axis.plot(x, y, label=entry.label, linewidth=1.8, markersize=4, **style)
    for axis, name in zip(axes, ("seconds of training and validation", "optimizer steps")):
        axis.axhline(pca_psnr, color=PCA_COLOR, linestyle="--", linewidth=1.2, label="PCA")
        axis.set_xlabel(name)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    # The range starts 2 dB below the worst of PCA and the runs' best, so that low starts do not compress the curves.
    values = [curve.psnr for entry in entries for curve in entry.curves]
    levels = [pca_psnr, *(v.max() for v in values)]
    bottom, top = min(min(levels), max(min(v.min() for v in values), min(levels) - 2)), max(levels)
    axes[0].set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axes[0].set_ylabel("validation PSNR (dB)")
    _legend(figure, axes[0])
    save(figure, path)


def save_rate(
    path: str | Path,
    curves: dict[str, list[tuple[float, float]]],
    chosen: dict[str, tuple[float, float]],
    codecs: Iterable[str],
    unit: str = "bytes per image",
):
    """Draw PSNR against bytes.

    Args:
        path: PNG file.
        curves: pairs of bytes and PSNR in dB by row; the row `pca` is drawn as the baseline.
        chosen: points by row that are marked by a ring.
        codecs: rows that are drawn as codecs.
        unit: label of the bytes, or bits.
    """
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    lines = iter(("-", "--", "-."))
    models = [name for name in curves if name not in codecs and name != "pca"]
    for name, curve in curves.items():
        if name in codecs:
            style = {"color": "0.6", "linestyle": next(lines), "zorder": 1}
        elif name == "pca":
            style = {"color": PCA_COLOR, "marker": "x", "linestyle": ":"}
        else:
            style = {**_style(models.index(name)), "markersize": 5}
        axis.plot(*zip(*curve), label=name, linewidth=1.4, **style)
        if name in chosen:
            axis.plot(*chosen[name], "o", color=style["color"], fillstyle="none", markersize=11)
    axis.set_xlabel(unit)
    axis.set_ylabel("PSNR (dB)")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    _legend(figure, axis)
    save(figure, path)


def save_grid(path: str | Path, pictures: dict[str, np.ndarray]):
    """Draw a row per image and a column per system, by title, with PSNR in dB against the `original`."""
    original = pictures["original"]
    rows, columns = len(original), len(pictures)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows * original.shape[1] / original.shape[2]), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for column, (title, images) in enumerate(pictures.items()):
        axes[0, column].set_title(textwrap.fill(title, 18), fontsize=9)
        for row in range(rows):
            _show_scored(axes[row, column], title, images[row], original[row])
    save(figure, path)


def show(axis, image: np.ndarray, cmap: str | Colormap = "gray", vmax: float = 1.0):
    """Draw an image (height, width, channels) in [0, vmax]: grayscale, RGB, RGBA, or the first of other channels."""
    pixels = image if image.shape[-1] in (3, 4) else image[..., 0]
    # Interpolation would hide the blocks of an enlarged crop.
    interpolation = "nearest" if max(pixels.shape[:2]) < ENLARGED else None
    shown = axis.imshow(np.clip(pixels, 0, vmax), cmap=cmap, vmin=0, vmax=vmax, interpolation=interpolation)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return shown


def _legend(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)


def save(figure: Figure, path: str | Path):
    """Write a figure atomically as an RGB PNG."""
    figure.set_dpi(120)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    with replacing(path) as temporary:  # without the alpha channel of matplotlib
        Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(temporary, optimize=True)
