"""The results of a trained model: scores, files for deployment and pictures."""

import math
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

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
from keras_recon.utils.files import write_json
from keras_recon.utils.run import Run
from keras_recon.utils.tables import environment

PICTURES = 6
LONGEST = 640  # longest side in pixels of the photo in the pictures
LEAST_FITTING_CROPS = 1000  # crops of 64x64 pixels; a quarter of them costs 0.06 dB


def finish_run(
    model: ImageModel,
    training: data.Photos,
    validation: data.Photos,
    run: Run | str | Path,
    options: TrainingOptions | None = None,
) -> dict[str, dict]:
    """Write the results of a trained model: model, SavedModel, certificate, scores and pictures.

    `keras_recon.train` calls this function. It prints each step with its duration. If photos could not be read, it
    lists them in `run.bad_images` and prints a warning to stderr.

    Args:
        model: the trained model.
        training: the photos of the training.
        validation: the photos of the validation.
        run: the folder of the run.
        options: the options of the training; the defaults of `TrainingOptions` if None.

    Returns:
        Scores by row: the `model`; unless it enlarges, the baselines `pca` and `mean`; for degraded images the `input`
        itself, not clipped, or enlarged by bicubic interpolation.

    Example:
    >>> images = np.random.rand(12, 32, 48, 3)
    >>> photos = keras_recon.data.load_photos((images[:10], images[10:]))
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> options = keras_recon.TrainingOptions(batch_size=4, epochs=2, steps_per_epoch=2)
    >>> keras_recon.train(model, *photos, "saved_models/vit", options, finish=False)
    Epoch 1/2
    ...
    >>> scores = keras_recon.finish_run(model, *photos, "saved_models/vit", options)
    evaluating the model ...
    >>> sorted(scores)
    ['mean', 'model', 'pca']
    """
    options = options or TrainingOptions()
    run = run if isinstance(run, Run) else Run(run)
    degradation = degradations.get(options.degradation)
    training, validation = (photos.for_upscale(model.upscale) for photos in (training, validation))
    batch_size = max(64, options.batch_size)  # the evaluation is eager, so small batches take longer
    batches = data.validation_batches(validation, model.image_shape, batch_size, degradation=degradation)
    size, patch_size = {}, patch_size_of(model)
    if isinstance(model, Reconstructor):
        size = {"latent values": math.prod(model.latent_shape), "compression ratio": model.compression_ratio}
    with _step("evaluating the model"):
        scores = evaluate(model, batches, patch_size)
    results = {
        "model": {
            **scores,
            "seconds": sum(epoch["seconds"] for epoch in run.epochs()),
            "parameters": model.count_params(),
            "trainable parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
            **size,
        }
    }
    pca = None
    with _step("evaluating the baselines"):
        if model.upscale == 1:
            pca = fit_pca(model, fitting_batches(training, model.image_shape, options))
            for name, row in baselines(model, pca, batches).items():
                results[name] = {**row, **(size if name == "pca" else {})}
        if degradation or validation.is_paired or model.upscale > 1:
            results["input"] = evaluate(partial(_enlarged, factor=model.upscale), batches, patch_size)
    if model.is_masked:
        hidden = {name: hidden_psnr(row["psnr"], model.fixed_mask) for name, row in results.items()}
        results = {name: {"hidden psnr": hidden[name], **row} for name, row in results.items()}
    degraded, clean = data.spread(batches, PICTURES)
    formats = [name for name in ("keras", "savedmodel") if can_export(FORMATS[name].keras_name)]
    with _step(f"exporting ({', '.join(formats)})"):
        export_model(model, run.folder, formats, degraded, clean)
    with _step("drawing"):
        from keras_recon.evaluation import figures  # takes half a second

        if model.is_masked:
            figures.save_masked(run.picture, model, clean)
        else:
            pictures = _pictures(model, pca, validation, degraded, clean, degradation)
            figures.save_reconstructions(run.picture, *pictures)
    quality = {name: value for name, value in scores.items() if name != "border ratio"}
    log_final(
        run.log_dir, quality, {name: results["pca"][name] for name in quality if "pca" in results}, options.epochs
    )
    bad = _write_bad_images(run, training, validation)
    count = sum(len(clean) for _, clean in batches)
    run.finish(results, _protocol(model, run, options, validation, count, bad))
    return results


def fitting_batches(training: data.Photos, image_shape: tuple[int, int, int], options: TrainingOptions):
    """Return the batches that the linear path of a model and the baseline PCA are fitted to.

    They are the first batches of the training, or more in short runs.
    """
    steps = max(options.steps_per_epoch, -(-LEAST_FITTING_CROPS // options.batch_size))
    degradation = degradations.get(options.degradation)
    crops = (training, image_shape, options.batch_size, steps)
    return data.training_batches(*crops, epochs=1, seed=options.seed, degradation=degradation)


@contextmanager
def _step(text):
    """Print the name and the duration of a step."""
    start = time.perf_counter()
    print(f"{text} ...", end=" ", flush=True)
    yield
    print(f"{time.perf_counter() - start:.0f} s", flush=True)


def _pictures(model, pca, validation, degraded, clean, degradation) -> tuple[dict, dict]:
    """Return a whole photo and crops, each with its reconstructions by PCA and by the model, by title."""
    *inputs, photo = (image[None] for image in data.middle_parts(validation, LONGEST))
    inputs = degradations.degrade(inputs[0] if inputs else photo, degradation)
    whole, crops = {"original": photo}, {"original": clean}
    if inputs is not photo:
        whole["degraded"], crops["degraded"] = (_enlarged(images, model.upscale) for images in (inputs, degraded))
    for title, network in ((("PCA", pca),) if pca else ()) + (("reconstruction", model),):
        whole[title] = reconstruct(network, inputs[0])[None]
        crops[title] = ops.convert_to_numpy(network(degraded, training=False))
    return whole, crops


def _protocol(model, run, options, validation, crops, bad) -> dict:
    """Return how the scores were measured, by name."""
    degradation = "as in the pairs" if validation.is_paired else str(options.degradation or "none")
    if model.upscale > 1 and not validation.is_paired:
        degradation = f"clean crops downscaled {model.upscale} times (bicubic), then {degradation}"
    protocol = {
        "data": run.config.get("data", "as given"),
        "bad images": bad,
        "validation photos": f"{len(validation)}, hash of their names {validation.fingerprint}",
        "crops": f"{crops} validation crops of {model.image_shape}, on a fixed grid",
        "degradation": degradation,
        "pixels": "float in [0, 1], outputs clipped, not quantised",
        "average": "metrics per image, then the mean over images",
        "mask": _mask_protocol(model) if model.is_masked else "",
        "weights": "best validation PSNR of all epochs" if options.selects_weights else "last epoch",
        "steps": options.total_steps,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "seconds": "wall time of training and validation, compilation included",
        "device": str(model.weights[0].value.device),
        **environment(),
    }
    return {name: value for name, value in protocol.items() if value != ""}


def _mask_protocol(model) -> str:
    hidden, patches = model.fixed_mask.sum(), model.fixed_mask.size
    return (
        f"{hidden} of {patches} patches hidden, the same in every image; the visible patches of all outputs are copied "
        "from the input; `hidden psnr` is that of the hidden pixels, the other scores are of whole images"
    )


def _enlarged(images, factor: int):
    """Enlarge images (batch, height, width, channels) by bicubic interpolation."""
    if factor == 1:
        return images
    size = [factor * side for side in images.shape[1:3]]
    return np.stack([resize_bicubic(image, size) for image in ops.convert_to_numpy(images)])


def _write_bad_images(run, training, validation) -> str:
    """List the photos that could not be used and why; return their number as a sentence, or an empty text."""
    parts = {"training": training, "validation": validation}
    bad = {part: [{"path": n, "reason": reason} for n, reason in p.bad.items()] for part, p in parts.items()}
    count, total = sum(map(len, bad.values())), len(training.keys) + len(validation.keys)
    if not count:
        return ""
    text = f"{count} of {total} could not be used and were left out"
    write_json(run.bad_images, {"count": count, "photos": total, **bad})
    print(f"warning: {text}, see {run.bad_images}", file=sys.stderr)
    return text
