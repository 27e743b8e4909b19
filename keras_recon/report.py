import csv
import math
import os
import platform
import sys
from pathlib import Path

import keras

from keras_recon import data
from keras_recon.callbacks import log_final
from keras_recon.degradations import Degradation
from keras_recon.evaluation import baselines, evaluate, hidden_psnr
from keras_recon.export import FORMATS, export_model
from keras_recon.files import write_json
from keras_recon.models import Reconstructor


def finish_run(
    model: Reconstructor,
    training: data.Photos,
    validation: data.Photos,
    *,
    run_dir: Path,
    log_dir: Path,
    config: dict,
    degradation: Degradation | None = None,
) -> dict[str, dict]:
    """Write what a finished run leaves: the model, the SavedModel and their certificate, figures and pictures.

    Photos that could not be used are listed in `bad_images.json`, and counted in a line on stderr.

    Args:
        model: trained.
        training, validation: the photos it was trained with.
        run_dir, log_dir: folders of the run.
        config: its settings; `data`, `batch_size`, `epochs`, `steps_per_epoch` and `seed` are needed.
        degradation: what the model was trained to undo.

    Returns:
        The rows of `results_table`: the model, the baselines at the same number of latent values, and the
        degraded `input` itself, not clipped.
    """
    from keras_recon import figures  # half a second to import

    batch_size, steps, seed = (config[name] for name in ("batch_size", "steps_per_epoch", "seed"))
    # Evaluated eagerly, where small batches take their time.
    evaluated = (validation, model.image_shape, max(64, batch_size))
    validation_batches = data.validation_batches(*evaluated, degradation=degradation)
    fitting = (training, model.image_shape, batch_size, steps)
    fitting_batches = data.training_batches(*fitting, epochs=1, seed=seed, degradation=degradation)
    with open(run_dir / "log.csv", newline="") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    size = {"latent values": math.prod(model.latent_shape), "compression ratio": model.compression_ratio}
    parameters = {
        "parameters": model.count_params(),
        "trainable parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
    }
    scores = evaluate(model, validation_batches)
    results = {"model": {**scores, "seconds": seconds, **parameters, **size}}
    for name, baseline in baselines(model, fitting_batches, validation_batches).items():
        results[name] = {**baseline, **(size if name == "pca" else {})}
    if degradation:
        results["input"] = evaluate(lambda images: images, validation_batches)
    if model.mask_ratio:
        results = {
            name: {"hidden psnr": hidden_psnr(row["psnr"], model.fixed_mask), **row} for name, row in results.items()
        }
    degraded, clean = data.spread(validation_batches, 6)
    formats = [name for name in ("keras", "savedmodel") if keras.backend.backend() in FORMATS[name].backends]
    export_model(model, run_dir, formats, degraded, clean)
    if model.mask_ratio:
        figures.save_masked(run_dir / "reconstructions.png", model, clean)
    else:
        outputs = keras.ops.convert_to_numpy(model(degraded, training=False))
        figures.save_reconstructions(run_dir / "reconstructions.png", degraded, clean, outputs)
    bad = _write_bad_images(run_dir / "bad_images.json", training, validation)
    count = sum(len(clean) for _, clean in validation_batches)
    protocol = {
        "data": config["data"],
        **({"bad images": bad} if bad else {}),
        "crops": f"{count} validation crops of {model.image_shape}, on a fixed grid",
        "degradation": str(degradation) if degradation else "none",
        "pixels": "float in [0, 1], outputs clipped, not quantised",
        "average": "metrics per image, then the mean over images",
        **({"mask": _mask_protocol(model)} if model.mask_ratio else {}),
        "weights": "best validation PSNR of all epochs",
        "steps": config["epochs"] * steps,
        "batch_size": batch_size,
        "seed": seed,
        "seconds": "wall time of training and validation, compilation included",
        "device": str(model.weights[0].value.device),
        **surroundings(),
    }
    log_final(log_dir, scores)
    write_json(run_dir / "metrics.json", {"results": results, "protocol": protocol})  # last: it says "finished"
    return results


def _write_bad_images(path: Path, training: data.Photos, validation: data.Photos) -> str:
    """List the photos that could not be used, and why; how many, in words, or nothing."""
    parts = {"training": training, "validation": validation}
    count, total = (sum(len(n) for n in numbers) for numbers in zip(*((p.bad, p.keys) for p in parts.values())))
    if not count:
        return ""
    text = f"{count} of {total} could not be used and were left out"
    bad = {part: [{"path": n, "reason": reason} for n, reason in p.bad.items()] for part, p in parts.items()}
    write_json(path, {"count": count, "photos": total, **bad})
    print(f"warning: {text}, see {path}", file=sys.stderr)
    return text


def _mask_protocol(model) -> str:
    hidden, patches = model.fixed_mask.sum(), model.fixed_mask.size
    return (
        f"{hidden} of {patches} patches hidden, the same ones in every image; visible ones are the input's own in all "
        "outputs; `hidden psnr` is that of the hidden pixels, the others are of whole images"
    )


def surroundings() -> dict[str, str]:
    """What figures depend on beside the code, for their protocol."""
    return {
        "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def results_table(results: dict[str, dict]) -> str:
    """Rows by name, a column a figure; what a row lacks stays empty."""
    columns = ["", *dict.fromkeys(key for row in results.values() for key in row)]
    cells = [columns] + [[name, *(_format(row.get(key)) for key in columns[1:])] for name, row in results.items()]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _format(value) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
