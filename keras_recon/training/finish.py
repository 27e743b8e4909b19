import math
import sys
import time
from contextlib import contextmanager
from functools import partial

import keras
import numpy as np
from keras import ops

from keras_recon import data, degradations
from keras_recon.callbacks.tensorboard import log_final
from keras_recon.evaluation.scores import baselines, evaluate, fit_pca, hidden_psnr, patch_size_of
from keras_recon.export import FORMATS, export_model
from keras_recon.images.pixels import resize_bicubic
from keras_recon.inference import reconstruct
from keras_recon.models import ImageModel, Reconstructor
from keras_recon.models.image_model import can_export
from keras_recon.training.options import TrainingOptions
from keras_recon.training.train import fitting_batches
from keras_recon.utils.files import write_json
from keras_recon.utils.run import Run
from keras_recon.utils.tables import environment

PICTURES = 6
LONGEST = 640  # pixels of the photo that is drawn


def finish_run(
    model: ImageModel, training: data.Photos, validation: data.Photos, run: Run, options: TrainingOptions
) -> dict[str, dict]:
    """Write what a finished run leaves: the model, the SavedModel and their certificate, figures and pictures.

    A line on stdout tells of each step and its seconds. Photos that could not be used are listed in `run.bad_images`,
    and counted in a line on stderr.

    Args:
        model: trained.
        training, validation: the photos it was trained with.
        run: its folder.
        options: as it was trained.

    Returns:
        The rows of its table: the model, the baselines at the same number of latent values, unless it enlarges, and
        the degraded `input` itself, not clipped, or enlarged by bicubic interpolation.
    """
    degradation = degradations.get(options.degradation)
    training, validation = (photos.for_upscale(model.upscale) for photos in (training, validation))
    # Evaluated eagerly, where small batches take their time.
    evaluated = (validation, model.image_shape, max(64, options.batch_size))
    validation_batches = data.validation_batches(*evaluated, degradation=degradation)
    size = {}
    if isinstance(model, Reconstructor):
        size = {"latent values": math.prod(model.latent_shape), "compression ratio": model.compression_ratio}
    parameters = {
        "parameters": model.count_params(),
        "trainable parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
    }
    with _step("evaluating the model"):
        scores = evaluate(model, validation_batches, patch_size_of(model))
    seconds = sum(epoch["seconds"] for epoch in run.epochs())
    results = {"model": {**scores, "seconds": seconds, **parameters, **size}}
    pca = None
    with _step("evaluating the baselines"):
        if model.upscale == 1:
            pca = fit_pca(model, fitting_batches(training, model.image_shape, options))
            for name, row in baselines(model, pca, validation_batches).items():
                results[name] = {**row, **(size if name == "pca" else {})}
        if degradation or validation.is_paired or model.upscale > 1:
            enlarge = partial(_enlarged, factor=model.upscale)
            results["input"] = evaluate(enlarge, validation_batches, patch_size_of(model))
    if model.is_masked:
        results = {
            name: {"hidden psnr": hidden_psnr(row["psnr"], model.fixed_mask), **row} for name, row in results.items()
        }
    degraded, clean = data.spread(validation_batches, PICTURES)
    formats = [name for name in ("keras", "savedmodel") if can_export(FORMATS[name].keras_name)]
    with _step(f"exporting ({', '.join(formats)})"):
        export_model(model, run.folder, formats, degraded, clean)
    with _step("drawing"):
        _draw(model, pca, run, validation, degraded, clean, degradation)
    bad = _write_bad_images(run, training, validation)
    count = sum(len(clean) for _, clean in validation_batches)
    quality = {name: value for name, value in scores.items() if name != "border ratio"}
    of_pca = {name: results["pca"][name] for name in quality if "pca" in results}
    log_final(run.log_dir, quality, of_pca, options.epochs)
    run.finish(results, _protocol(model, run, options, validation, count, bad))
    return results


@contextmanager
def _step(text):
    """Tell of a step that takes seconds."""
    start = time.perf_counter()
    print(f"{text} ...", end=" ", flush=True)
    yield
    print(f"{time.perf_counter() - start:.0f} s", flush=True)


def _draw(model, pca, run, validation, degraded, clean, degradation):
    from keras_recon.evaluation import figures  # half a second to import

    if model.is_masked:
        figures.save_masked(run.picture, model, clean)
    else:
        pictures = _pictures(model, pca, validation, degraded, clean, degradation)
        figures.save_reconstructions(run.picture, *pictures)


def _pictures(model, pca, validation, degraded, clean, degradation) -> tuple[dict, dict]:
    """A whole photo and crops, and what PCA and the model make of them, by title."""
    *inputs, photo = (image[None] for image in data.middle_parts(validation, LONGEST))
    inputs = degradations.degrade(inputs[0] if inputs else photo, degradation)
    whole, crops = {"original": photo}, {"original": clean}
    if inputs is not photo:
        whole["degraded"], crops["degraded"] = (_enlarged(images, model.upscale) for images in (inputs, degraded))
    for title, network in ((("PCA", pca),) if pca else ()) + (("reconstruction", model),):
        whole[title] = reconstruct(network, inputs[0])[None]
        crops[title] = keras.ops.convert_to_numpy(network(degraded, training=False))
    return whole, crops


def _protocol(model, run, options, validation, crops, bad) -> dict:
    degradation = "as in the pairs" if validation.is_paired else str(options.degradation or "none")
    if model.upscale > 1 and not validation.is_paired:
        degradation = f"clean crops downscaled {model.upscale} times (bicubic), then {degradation}"
    return {
        "data": run.config.get("data", "as given"),
        **({"bad images": bad} if bad else {}),
        "validation photos": f"{len(validation)}, hash of their names {validation.fingerprint}",
        "crops": f"{crops} validation crops of {model.image_shape}, on a fixed grid",
        "degradation": degradation,
        "pixels": "float in [0, 1], outputs clipped, not quantised",
        "average": "metrics per image, then the mean over images",
        **({"mask": _mask_protocol(model)} if model.is_masked else {}),
        "weights": "best validation PSNR of all epochs" if options.selects_weights else "last epoch",
        "steps": options.total_steps,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "seconds": "wall time of training and validation, compilation included",
        "device": str(model.weights[0].value.device),
        **environment(),
    }


def _enlarged(images, factor: int):
    """Images (batch, height, width, channels), enlarged by bicubic interpolation."""
    if factor == 1:
        return images
    size = [factor * side for side in images.shape[1:3]]
    return np.stack([resize_bicubic(image, size) for image in ops.convert_to_numpy(images)])


def _write_bad_images(run, training, validation) -> str:
    """List the photos that could not be used, and why; how many, in words, or nothing."""
    parts = {"training": training, "validation": validation}
    count, total = (sum(len(n) for n in numbers) for numbers in zip(*((p.bad, p.keys) for p in parts.values())))
    if not count:
        return ""
    text = f"{count} of {total} could not be used and were left out"
    bad = {part: [{"path": n, "reason": reason} for n, reason in p.bad.items()] for part, p in parts.items()}
    write_json(run.bad_images, {"count": count, "photos": total, **bad})
    print(f"warning: {text}, see {run.bad_images}", file=sys.stderr)
    return text


def _mask_protocol(model) -> str:
    hidden, patches = model.fixed_mask.sum(), model.fixed_mask.size
    return (
        f"{hidden} of {patches} patches hidden, the same ones in every image; visible ones are the input's own in all "
        "outputs; `hidden psnr` is that of the hidden pixels, the others are of whole images"
    )
