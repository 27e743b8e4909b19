import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon.metrics import psnr
from keras_recon.models import Reconstructor

TIMED_CALLS = 3
# Of pixels in [0, 1]. Sums in another order differed by 5e-6 in float32 and 0.07 in bfloat16, with random weights.
# Products have 8 significant bits in bfloat16, 11 in float16 and, except on a CPU, perhaps in float32.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# Formats that differ by design, and the PSNR to the live model, in dB, that they need: an error of 1.4 of 255, which
# costs a model that is at 35 dB itself some 0.4.
QUANTIZED = ("onnx_int8", "litert_int8")
MIN_PSNR = 45


def certify(model: Reconstructor, paths: dict[str, Path], images: np.ndarray, clean: np.ndarray | None = None) -> dict:
    """Load exported files and compare what they answer with what the live model does, on the same images.

    Args:
        model: the live model.
        paths: files by format, see `keras_recon.export.formats.FORMATS`.
        images, clean: float images (images, *image_shape) in [0, 1] and, for PSNR, what they should become.

    Returns:
        How it was measured, and by format the largest absolute difference from the live model, the difference of the
        mean PSNR in dB, and the milliseconds that a batch of these images takes; `live` has PSNR and milliseconds, and
        what is quantised its mean PSNR to the live model.

    Raises:
        RuntimeError: a file cannot be loaded and run, or differs by more than the tolerance that `TOLERANCES` states,
            a quantised one, or any of a model that Keras quantised to int8, by a PSNR below `MIN_PSNR`.
    """
    on_cpu = "cpu" in str(model.weights[0].value.device).lower()
    # Layers in int8 round what goes into them: of the last bit of a sum they make a whole step.
    by_psnr = paths if "int8" in quantization_modes(model) else QUANTIZED
    tolerance = TOLERANCES["float16" if model.compute_dtype == "float32" and not on_cpu else model.compute_dtype]
    live, milliseconds = _time(_eagerly(model), images)
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
        if name in by_psnr:
            rows[name]["psnr to live"] = close = _mean_psnr(live, outputs)
            if not close >= MIN_PSNR:
                raise RuntimeError(
                    f"The exported {name} must have a PSNR of {MIN_PSNR} dB to the live model; choose "
                    f"another format. Received: {close:.2f} dB over {len(images)} images"
                )
        elif not difference <= tolerance:  # also what is not a number
            raise RuntimeError(
                f"The exported {name} must answer as the live model to {tolerance:g}. Received: a difference of "
                f"{difference:g} over {len(images)} images"
            )
    return {
        "files": rows,
        "protocol": {
            "loading": "`import keras_recon` comes before keras.saving.load_model; the other formats need neither",
            "images": f"{len(images)} of {model.image_shape}, float in [0, 1]",
            "tolerance": tolerance,
            "tolerance where int8 rounds": f"a PSNR of {MIN_PSNR} dB or more to the live model, the mean over images",
            "dtype": model.compute_dtype,
            "psnr": "dB, per image, then the mean over images; the difference is a file's minus the live model's",
            "ms": f"all images as one batch, median of {TIMED_CALLS} calls after a first; live and keras run eagerly",
            "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
            "device": str(model.weights[0].value.device),
        },
    }


def quantization_modes(model: Reconstructor) -> set[str]:
    """What Keras quantised layers to: "int8", "int4"."""
    return {layer.dtype_policy.quantization_mode for layer in model._flatten_layers()} - {None}


def _time(run: Callable, images) -> tuple[np.ndarray, float]:
    """What `run(images)` answers, and the median milliseconds it takes after the first call."""
    outputs, seconds = run(images), []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - start)
    return outputs, 1000 * statistics.median(seconds)


def _mean_psnr(clean, outputs) -> float:
    return float(ops.convert_to_numpy(psnr(clean, outputs)).mean(dtype="float64"))


def _eagerly(model):
    return lambda images: ops.convert_to_numpy(model(images, training=False))


def _load_savedmodel(path):
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda images: served.serve(images).numpy()


def _load_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def _load_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    given, answered = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images):
        interpreter.resize_tensor_input(given, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given, images)
        interpreter.invoke()
        return interpreter.get_tensor(answered)

    return run


LOADERS: dict[str, Callable[[Path], Callable]] = {
    "keras": lambda path: _eagerly(keras.saving.load_model(path)),
    "savedmodel": _load_savedmodel,
    "onnx": _load_onnx,
    "litert": _load_litert,
    "onnx_int8": _load_onnx,
    "litert_int8": _load_litert,
}
