"""Latency and throughput of a trained model in its formats, the start of a process, and the import of keras_recon.

Each format runs in a process of its own, as it would be deployed: the SavedModel with TensorFlow alone, ONNX with ONNX
Runtime, LiteRT with its interpreter, the .keras file under each backend. So keras_recon is imported where it is used.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arguments import Parser, positive
from processes import HERE, answer, environ

IMPORTS = ("numpy", "tensorflow", "keras", "keras_recon")
LIBRARIES = ("tensorflow", "jax", "torch", "onnxruntime", "ai_edge_litert", "keras_recon")
EXPORT = HERE.parent / "examples" / "export.py"


def load_savedmodel(path: str):
    import tensorflow as tf

    model = tf.saved_model.load(path)  # its variables live as long as it does
    return lambda images: model.serve(images).numpy(), [model]


def load_onnx(path: str):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0], [session]


def load_litert(path: str):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=os.cpu_count())
    interpreter.allocate_tensors()

    def run(images):
        entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        if tuple(entry["shape"]) != images.shape:
            interpreter.resize_tensor_input(entry["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])

    return run, [interpreter]


def load_keras(path: str):
    import keras_recon

    model = keras_recon.load_model(path)
    return model.predict_on_batch, [model, model.weights[0].value]


@dataclass(frozen=True)
class Format:
    """What a row's label runs.

    Attributes:
        file: in the run's folder.
        load: of the file's path, makes a function of a batch of float images, both NumPy, and the objects behind it.
        needs: modules.
        backend: KERAS_BACKEND of its process.
        export: what `examples/export.py` calls it, if that has to write it.
    """

    file: str
    load: Callable
    needs: tuple[str, ...]
    backend: str = "tensorflow"
    export: str | None = None


FORMATS = {
    "SavedModel": Format("export/savedmodel", load_savedmodel, ("tensorflow",), export="savedmodel"),
    "ONNX Runtime": Format("export/model.onnx", load_onnx, ("onnxruntime", "tf2onnx"), export="onnx"),
    "LiteRT": Format("export/model.tflite", load_litert, ("ai_edge_litert",), export="litert"),
    ".keras, TensorFlow": Format("model.keras", load_keras, ("tensorflow",), "tensorflow"),
    ".keras, JAX": Format("model.keras", load_keras, ("jax",), "jax"),
    ".keras, PyTorch": Format("model.keras", load_keras, ("torch",), "torch"),
}


def one(name: str, folder: str, start: float, image_shape: tuple, batches: list[int], rounds: int):
    """Print the times of a format, in a process that began at `start`, and what ran."""
    path = str(Path(folder, FORMATS[name].file))
    run, objects = FORMATS[name].load(path)
    images = {n: np.random.default_rng(0).random((n, *image_shape), "float32") for n in batches}
    run(images[batches[0]])
    row = {"cold start, s": time.time() - start}
    for n, batch in images.items():
        times = []
        run(batch)
        for _ in range(rounds):
            begin = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - begin)
        row |= {f"ms at {n}": 1000 * float(np.median(times)), f"images per second at {n}": n / float(np.median(times))}
    ran = {
        "file": path,
        "objects": [f"{type(each).__module__}.{type(each).__qualname__}" for each in objects],
        "imported": [library for library in LIBRARIES if library in sys.modules],
    }
    print(json.dumps({"row": row, "ran": ran}))


def measure(name: str, folder: Path, image_shape: tuple, batches: list[int], rounds: int) -> dict:
    """The `row` of a format, and what `ran`; a RuntimeError says why there is none."""
    arguments = (name, str(folder), time.time(), image_shape, batches, rounds)
    return answer("inference_speed", "one", arguments, FORMATS[name].backend)


def imports() -> dict[str, dict]:
    """Seconds of a process that imports a module and ends; the fastest of three."""
    rows = {}
    for name in IMPORTS:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        rows[f"import {name}"] = {"seconds": min(times)}
    return rows


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, help="(default: all)")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 64], help="(default: 1 64)")
    parser.add_argument("--rounds", type=positive, default=20, help="calls, whose median counts (default: 20)")
    parser.add_argument("--output", default="inference_speed.json")
    args = parser.parse_args(argv)
    if not (args.run / "model.keras").is_file():
        parser.error(f"RUN must be a finished run's folder. Received: {args.run}")
    names = parser.installed(args.formats, {name: row.needs for name, row in FORMATS.items()})
    from keras_recon import load_model
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import environment, results_table

    shape = load_model(args.run / "model.keras").image_shape
    if formats := [FORMATS[name].export for name in names if FORMATS[name].export]:
        command = [sys.executable, EXPORT, args.run, "--format", *formats]
        done = subprocess.run(command, env=environ("tensorflow"), stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"error: {args.run} cannot be exported as {', '.join(formats)}: choose other --formats")
    rows, ran, failed = {}, {}, {}
    for name in names:
        try:
            measured = measure(name, args.run, shape, args.batches, args.rounds)
            rows[name], ran[name] = measured["row"], measured["ran"]
        except RuntimeError as error:
            failed[name] = str(error)
            print(f"{name} failed: {error}")
    results = {"formats": rows, "ran": ran, "failed": failed, "imports": imports()}
    print(f"\n{results_table(rows)}\n\n{results_table(results['imports'])}")
    protocol = {**vars(args), "run": str(args.run), "machine": environment()["machine"]}
    write_json(args.output, {"results": results, "protocol": protocol})
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
