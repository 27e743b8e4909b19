"""Certificates that exported files compute what the model computes."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon.compression import ImageCodec
from keras_recon.metrics import psnr
from keras_recon.models.layer_state import layers_by_path

TIMED_CALLS = 3
# Largest absolute difference of pixels in [0, 1]. With random weights, another order of sums changed pixels by 5e-6 in
# float32 and by 0.07 in bfloat16. Products have 8 significant bits in bfloat16 and 11 in float16. Float32 products may
# have 11 too, except on a CPU.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# Formats that differ by design, and the PSNR to the model, in dB, that they need: an error of 1.4 levels of 255, which
# costs a model with a PSNR of 35 dB about 0.4 dB.
QUANTIZED = ("onnx_int8", "litert_int8")
MIN_PSNR = 45
CODEC_QUALITY = 0.5  # at which a codec is compared


def certify(model: keras.Model, paths: dict[str, Path], images: np.ndarray, clean: np.ndarray | None = None) -> dict:
    """Load exported files and compare their outputs with those of the live model.

    Outputs are images for image models and codecs, and anomaly maps for detectors.

    Args:
        model: The live model.
        paths: Files by format, see `keras_recon.export.FORMATS`.
        images: Float images (count, *image_shape) in [0, 1].
        clean: Target images of the same count, for PSNR.

    Returns:
        The `protocol`, and `files` with a row for each format: `max absolute difference` from the live model, `psnr
        difference` in dB if there are target images, `psnr to live` in dB for quantised files, and `ms` for a batch of
        all images. The row `live` has `psnr` and `ms`.

    Raises:
        RuntimeError: A file cannot be loaded and run, or differs from the live model by more than `TOLERANCES` allows.
            Quantised formats, codecs, and models with int8 layers need a PSNR of `MIN_PSNR` instead.
    """
    on_cpu = "cpu" in str(model.weights[0].value.device).lower()
    # Rounding in int8 layers and of latents turns a difference in the last bit into a whole step.
    rounds = isinstance(model, ImageCodec) or "int8" in quantization_modes(model)
    tolerance = TOLERANCES["float16" if model.compute_dtype == "float32" and not on_cpu else model.compute_dtype]
    live, milliseconds = _time(partial(_run, model), images)
    rows = {"live": {"ms": milliseconds}}
    if clean is not None:
        rows["live"]["psnr"] = reference = _mean_psnr(clean, live)
    for name, path in paths.items():
        try:
            outputs, milliseconds = _time(LOADERS[name](path), images)
        except Exception as error:  # every runtime raises its own types
            raise RuntimeError(f"The exported {name} cannot be run: {type(error).__name__}: {error}") from error
        difference = float(np.abs(outputs - live).max())
        rows[name] = {"ms": milliseconds, "max absolute difference": difference}
        if clean is not None:
            rows[name]["psnr difference"] = _mean_psnr(clean, outputs) - reference
        if rounds or name in QUANTIZED:
            rows[name]["psnr to live"] = close = _mean_psnr(live, outputs)
            limit, found, fits = f"a PSNR of {MIN_PSNR} dB to", f"{close:.2f} dB", close >= MIN_PSNR
        else:
            limit, found, fits = f"at most {tolerance:g} difference from", f"{difference:g}", difference <= tolerance
        if not fits:  # also if it is NaN
            raise RuntimeError(
                f"The exported {name} must have {limit} the live model: choose another format. "
                f"Received: {found} over {len(images)} images"
            )
    return {
        "files": rows,
        "protocol": {
            "loading": "`import keras_recon` comes before keras.saving.load_model; the other formats need neither",
            "images": f"{len(images)} of {images.shape[1:]}, float in [0, 1]",
            "tolerance": tolerance,
            "tolerance with rounding": f"a PSNR of {MIN_PSNR} dB or more to the live model, the mean over images",
            "dtype": model.compute_dtype,
            "psnr": "dB, per image, then the mean over images; the difference is a file's minus the live model's",
            "ms": f"all images as one batch, median of {TIMED_CALLS} calls after a first; live and keras run eagerly",
            "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
            "device": str(model.weights[0].value.device),
        },
    }


def quantization_modes(model: keras.Model) -> set[str]:
    """Find the modes in which Keras quantised layers of a model: "int8", "int4"."""
    return {layer.dtype_policy.quantization_mode for layer in layers_by_path(model).values()} - {None}


def _run(model, images) -> np.ndarray:
    """Compute the images or anomaly maps of a live model or a loaded SavedModel."""
    if hasattr(model, "decompress"):  # a codec
        quality = np.full(len(images), CODEC_QUALITY, "float32")
        outputs = model.decompress(model.compress(images, quality)["latents"], quality)
    else:
        outputs = model.serve(images) if hasattr(model, "serve") else model(images, training=False)
    return ops.convert_to_numpy(outputs["map"] if isinstance(outputs, dict) else outputs)


def _time(run: Callable, images) -> tuple[np.ndarray, float]:
    """Return `run(images)` and the median of its milliseconds after the first call."""
    outputs, seconds = run(images), []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - start)
    return outputs, 1000 * statistics.median(seconds)


def _mean_psnr(clean, outputs) -> float:
    return float(ops.convert_to_numpy(psnr(clean, outputs)).mean(dtype="float64"))


def _load_savedmodel(path):
    import tensorflow as tf

    return partial(_run, tf.saved_model.load(str(path)))


def _load_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def _load_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images):
        interpreter.resize_tensor_input(source, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


# Functions of a path by format. Each returns a function from images to outputs, both arrays.
LOADERS: dict[str, Callable[[Path], Callable]] = {
    "keras": lambda path: partial(_run, keras.saving.load_model(path)),
    "savedmodel": _load_savedmodel,
    "onnx": _load_onnx,
    "litert": _load_litert,
    "onnx_int8": _load_onnx,
    "litert_int8": _load_litert,
}
