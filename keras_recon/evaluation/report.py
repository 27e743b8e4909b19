from pathlib import Path

import numpy as np
from PIL import Image

from keras_recon.evaluation.comparison import Comparison
from keras_recon.evaluation.figures import save_convergence, save_grid, save_rate
from keras_recon.utils.environment import environment
from keras_recon.utils.files import replacing, write_json
from keras_recon.utils.run import Run
from keras_recon.utils.tables import results_table

FIGURES = {
    "convergence": "Quality on the validation crops against training time and steps",
    "rate": "Quality against bytes",
    "grid": "The same images through every system",
}
NOTES = {
    "pixels": "float in [0, 1], clipped; outputs of the models not quantised, those of JPEG and WebP in 8 bits",
    "input": "the degraded images themselves, not clipped",
    "average": "metrics per image, then the mean over images and seeds",
    "spread": "standard deviation (n - 1) of the mean PSNR over seeds",
    "over pca": "mean difference in PSNR (dB); its 95 % interval is a paired percentile bootstrap, which does not hold "
    "what other seeds would change",
    "psnr 8-bit": "of images decoded from latents in 256 even levels over each channel's range in these images",
    "bytes": "per image; 8-bit latents, empirical entropy: a bound, no coder is run, no side information counted",
    "jpeg": "Pillow, 4:2:0, standard Huffman tables, abbreviated streams (the tables are not counted)",
    "webp": "Pillow, lossy, method 6, whole files",
    "seconds": "training and validation, compilation included, mean over seeds",
}


def write_comparison(comparison: Comparison, runs: dict[str, list[Run]], folder: Path, log_dir: Path, protocol: dict):
    """Write `comparison.json`, `comparison.md` and the figures to `folder`, and all to TensorBoard in `log_dir`.

    Args:
        comparison: of `runs`.
        runs: a run per seed by label.
        folder, log_dir: where to write.
        protocol: what the caller knows of how this was measured, by name.
    """
    rows = comparison.rows
    points = {name: (row["bytes"], row["psnr 8-bit"]) for name, row in rows.items() if "psnr 8-bit" in row}
    curves = {name: [(c["bytes"], c["psnr"]) for c in curve] for name, curve in comparison.curves.items()}
    save_convergence(folder / "convergence.png", comparison.entries, comparison.pca_validation_psnr)
    save_rate(folder / "rate.png", {name: point for name, point in points.items() if name not in curves}, curves)
    save_grid(folder / "grid.png", comparison.pictures, comparison.picture_psnr)
    protocol = {
        **protocol,
        **NOTES,
        "evaluated on": ", ".join(environment().values()),
        **_settings({k: v[0] for k, v in runs.items()}),
    }
    text = _markdown(comparison, protocol)
    with replacing(folder / "comparison.md") as temporary:
        temporary.write_text(text)
    _log(log_dir, text, folder)
    content = {
        "rows": rows,
        "seeds": comparison.seeds,
        "verdicts": [verdict._asdict() for verdict in comparison.verdicts],
        "remarks": comparison.remarks,
        "codecs": comparison.curves,
        "protocol": protocol,
    }
    write_json(folder / "comparison.json", content)


def summary(comparison: Comparison) -> str:
    """The table, what it needs to be read, and the verdicts."""
    verdicts = [f"{v.claim}: {v.verdict.upper()}. {v.figures}" for v in comparison.verdicts]
    return "\n".join([results_table(comparison.rows), "", *comparison.remarks, "", *verdicts])


def _markdown(comparison, protocol):
    parts = ["# Comparison", f"```text\n{results_table(comparison.rows)}\n```"]
    parts += ["\n".join(f"- {remark}" for remark in comparison.remarks)]
    parts += ["## Verdicts", "\n".join(f"- {v.claim}: **{v.verdict}**. {v.figures}" for v in comparison.verdicts)]
    parts += ["## Figures", *(f"![{title}]({name}.png)" for name, title in FIGURES.items())]
    lines = []
    for name, value in protocol.items():
        text = ", ".join(f"{key} {of_key}" for key, of_key in value.items()) if isinstance(value, dict) else value
        lines.append(f"- {name}: {text}")
    parts += ["## Protocol", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _settings(runs):
    """The settings that all runs share and, by label, each run's others."""
    machine = ("weights", "backend", "device", "machine")
    of_run = {label: {**run.config, **{name: run.protocol[name] for name in machine}} for label, run in runs.items()}
    for settings in of_run.values():
        for name in ("seed", "run_name", "saved_models", "logs"):
            del settings[name]
    first = next(iter(of_run.values()))
    shared = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in of_run.values())}
    own = {label: {k: v for k, v in s.items() if k not in shared and v is not None} for label, s in of_run.items()}
    return {"all runs": shared, **own}


def _log(log_dir, text, folder):
    """The text and the figures for TensorBoard; needs TensorFlow."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(log_dir)).as_default():
        tf.summary.text("comparison", text, step=0)
        for name, title in FIGURES.items():
            with Image.open(folder / f"{name}.png") as picture:
                pixels = np.asarray(picture.convert("RGB"))
            tf.summary.image(f"comparison/{name}", pixels[None], step=0, description=title)
