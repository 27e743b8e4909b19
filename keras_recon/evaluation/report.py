"""Tables, text, figures and TensorBoard logs of a comparison."""

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from keras_recon.evaluation.comparison import Comparison
from keras_recon.evaluation.figures import save_convergence, save_grid, save_rate
from keras_recon.evaluation.rate import CODECS, STEPS, TOLERANCE
from keras_recon.utils.files import replacing, write_json
from keras_recon.utils.run import Run
from keras_recon.utils.tables import environment, results_table

FIGURES = {
    "convergence": "Quality on the validation crops against training time and steps",
    "rate": "Quality against bytes",
    "grid": "The same images through every system",
}
COLUMNS = {  # of the printed table
    "psnr": "{psnr:.2f}",
    "±": "{spread:.2f}",
    "over pca": "{over pca:+.2f}",
    "95% interval": "{95% from:+.2f} {95% to:+.2f}",
    "ssim": "{ssim:.3f}",
    "ms ssim": "{ms_ssim:.3f}",
    "perceptual": "{perceptual:.3f}",
    "frechet": "{frechet:.4f}",
    "border ratio": "{border ratio:.2f}",
    "bytes": "{bytes:,}",
    "coded psnr": "{coded psnr:.2f}",
    "seconds": "{seconds:,}",
}
NOTES = {
    "pixels": "float in [0, 1], clipped; outputs of models are not quantised, those of codecs have 8 bits",
    "input": "the degraded images, not clipped",
    "average": "metrics are computed per image, then averaged over images and seeds",
    "±": "standard deviation (n - 1) of the mean PSNR over seeds",
    "over pca": "mean difference in PSNR (dB); the 95 % interval is a paired percentile bootstrap, which ignores "
    "the variation between seeds",
    "perceptual": "distance of the features of a frozen network, averaged over images; lower is better",
    "frechet": "Fréchet distance of the features of all images by that network, which is not FID; lower is better",
    "border ratio": "mean absolute difference of neighbouring pixels across the borders of the model's patches (of 8x8 "
    "in the other rows) divided by that inside patches: about 1 in photos",
    "bytes": "per image, in whole bytes; tables and settings that sender and receiver agree on beforehand do not count",
    "latents": "rounded to steps with equal effect on the pixels: the step of a channel is divided by the root mean "
    "square change of the pixels (Euclidean norm) per unit; bytes are the cross-entropy under probabilities fixed on "
    "training crops, as a static arithmetic coder reaches; no coder is run",
    "coded psnr": "of images decoded from rounded latents, at the coarsest step of "
    f"{', '.join(map(str, STEPS))} / 255 that costs at most {TOLERANCE} dB, or the finest",
    "jpeg": "Pillow, 4:2:0, standard Huffman tables: only the entropy-coded data",
    "webp": "Pillow, lossy, method 6: the whole file",
    "avif": "Pillow, 4:2:0, speed 6: the whole file",
    "bd rate": "difference in bytes at equal PSNR to another row (Bjontegaard, 2001), over the PSNR that both reach, "
    "of curves over steps or qualities, interpolated by monotone cubics",
    "seconds": "training and validation including compilation, mean over seeds",
}
OF_CROPS = "Smooth crops raise these means: PSNR is lower for whole photos, where errors are averaged first."
WIDTH = 80  # of printed lines


def write_comparison(
    comparison: Comparison, runs: dict[str, list[Run]], folder: Path, log_dir: Path, crops: str, protocol: dict
):
    """Write `comparison.json`, `comparison.md`, the figures, and a TensorBoard log of text and figures.

    Args:
        comparison: results of `compare`.
        runs: a run per seed by label.
        folder: folder of the files.
        log_dir: folder of the TensorBoard log.
        crops: description of the images.
        protocol: further entries of the protocol.
    """
    protocol = {
        "evaluated": crops,
        **protocol,
        **NOTES,
        "evaluated on": ", ".join(environment().values()),
        **_settings({label: seeds[0] for label, seeds in runs.items()}),
    }
    figures = _draw(comparison, folder)
    text = _markdown(comparison, crops, figures, protocol)
    with replacing(folder / "comparison.md") as temporary:
        temporary.write_text(text)
    _log(log_dir, text, figures, folder)
    content = {
        "rows": comparison.rows,
        "seeds": comparison.seeds,
        "verdicts": [verdict._asdict() for verdict in comparison.verdicts],
        "remarks": comparison.remarks,
        "rates": comparison.rates,
        "protocol": protocol,
    }
    write_json(folder / "comparison.json", content)


def summary(comparison: Comparison, crops: str) -> str:
    """Return the table, remarks and verdicts as text with lines of at most 80 characters.

    Args:
        comparison: results of `compare`.
        crops: description of the images.
    """
    verdicts = [f"{v.claim}: {v.verdict.upper()}. {v.figures}" for v in comparison.verdicts]
    parts = [[_means_of(crops)], comparison.remarks, verdicts]
    texts = ["\n".join(textwrap.fill(line, WIDTH) for line in lines) for lines in parts if lines]
    return "\n\n".join([_table(comparison.rows), *texts])


def _table(rows):
    """Return a table of those `COLUMNS` that a row has; `comparison.json` has all."""
    columns = {heading: [_cell(row, text) for row in rows.values()] for heading, text in COLUMNS.items()}
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    return results_table({name: dict(zip(columns, cells)) for name, cells in zip(rows, zip(*columns.values()))})


def _cell(row, text):
    try:
        return text.format_map(row)
    except KeyError:
        return None


def _means_of(crops):
    return f"PSNR (dB) and SSIM are means over {crops}. {OF_CROPS}"


def _draw(comparison, folder):
    """Save the figures and return their titles by name; without curves, there is no figure of convergence."""
    figures = dict(FIGURES)
    if comparison.entries:
        save_convergence(folder / "convergence.png", comparison.entries, comparison.pca_validation_psnr)
    else:
        del figures["convergence"]
    rates = {name: [(point["bytes"], point["psnr"]) for point in rate] for name, rate in comparison.rates.items()}
    rows = comparison.rows.items()
    chosen = {name: (row["bytes"], row["coded psnr"]) for name, row in rows if "coded psnr" in row}
    save_rate(folder / "rate.png", rates, chosen, codecs=CODECS)
    save_grid(folder / "grid.png", comparison.pictures)
    return figures


def _markdown(comparison, crops, figures, protocol):
    parts = ["# Comparison", f"```text\n{_table(comparison.rows)}\n```", _means_of(crops)]
    parts += ["\n".join(f"- {remark}" for remark in comparison.remarks)]
    if comparison.verdicts:
        parts += ["## Verdicts", "\n".join(f"- {v.claim}: **{v.verdict}**. {v.figures}" for v in comparison.verdicts)]
    parts += ["## Figures", *(f"![{title}]({name}.png)" for name, title in figures.items())]
    lines = []
    for name, value in protocol.items():
        text = ", ".join(f"{key} {of_key}" for key, of_key in value.items()) if isinstance(value, dict) else value
        lines.append(f"- {name}: {text}")
    parts += ["## Protocol", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _settings(runs):
    """Return the settings that all runs share and, by label, the other settings of each run."""
    machine = ("weights", "backend", "device", "machine")
    of_run = {
        label: {**run.config, **{name: run.protocol.get(name) for name in machine}} for label, run in runs.items()
    }
    for settings in of_run.values():
        for name in ("seed", "run_name", "saved_models", "logs"):
            settings.pop(name, None)  # runs of `keras_recon.train` have no name of their own
    first = next(iter(of_run.values()), {})
    shared = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in of_run.values())}
    own = {label: {k: v for k, v in s.items() if k not in shared and v is not None} for label, s in of_run.items()}
    return {"all runs": shared, **own}


def _log(log_dir, text, figures, folder):
    """Write text and figures for TensorBoard; needs TensorFlow."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(log_dir)).as_default():
        tf.summary.text("comparison", text, step=0)
        for name, title in figures.items():
            with Image.open(folder / f"{name}.png") as picture:
                pixels = np.asarray(picture.convert("RGB"))
            tf.summary.image(f"comparison/{name}", pixels[None], step=0, description=title)
