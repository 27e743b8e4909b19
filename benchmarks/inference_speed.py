"""Latency and throughput of a trained model in its formats, the start of a process, and the import of keras_recon.

Each format runs in a process of its own, as it would be deployed: the SavedModel with TensorFlow alone, ONNX with ONNX
Runtime, LiteRT with its interpreter, the .keras file under each backend. So keras_recon is imported where it is used.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FORMATS = {  # by the row's name: what loads it, the file, the backend
    "SavedModel": ("savedmodel", "savedmodel", "tensorflow"),
    "ONNX Runtime": ("onnx", "model.onnx", "tensorflow"),
    "LiteRT": ("litert", "model.tflite", "tensorflow"),
    ".keras, TensorFlow": ("keras", "model.keras", "tensorflow"),
    ".keras, JAX": ("keras", "model.keras", "jax"),
    ".keras, PyTorch": ("keras", "model.keras", "torch"),
}
IMPORTS = ("numpy", "tensorflow", "keras", "keras_recon")
EXPORT = Path(__file__).parents[1] / "examples" / "export.py"


def load(kind: str, path: str):
    """A function from a batch of float images to the outputs, both NumPy."""
    if kind == "savedmodel":
        import tensorflow as tf

        model = tf.saved_model.load(path)  # its variables live as long as it does
        return lambda images: model.serve(images).numpy()
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})[0]
    if kind == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=os.cpu_count())

        def run(images):
            entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
            if tuple(entry["shape"]) != images.shape:
                interpreter.resize_tensor_input(entry["index"], images.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(entry["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(out["index"])

        interpreter.allocate_tensors()
        return run
    import keras_recon

    model = keras_recon.load_model(path)
    return lambda images: np.asarray(model.predict_on_batch(images))


def one(kind: str, path: str, start: float, image_shape: tuple, batches: list[int], rounds: int):
    """Print the times of one format, in a process that began at `start`."""
    run = load(kind, path)
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
    print(json.dumps(row))


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="(default: 1 64)")
    parser.add_argument("--rounds", type=int, default=20, help="calls, whose median counts (default: 20)")
    parser.add_argument("--output", default="inference_speed.json")
    args = parser.parse_args(argv)
    from keras_recon import load_model
    from keras_recon.utils.environment import environment
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import results_table

    shape = load_model(args.run / "model.keras").image_shape
    export = [sys.executable, EXPORT, args.run, "--format", "savedmodel", "onnx", "litert"]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    rows = {}
    for name, (kind, file, backend) in FORMATS.items():
        path = args.run / file if kind == "keras" else args.run / "export" / file
        arguments = (kind, str(path), time.time(), shape, args.batches, args.rounds)
        output = subprocess.run(
            [sys.executable, "-c", f"from inference_speed import one; one(*{arguments})"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        if output.returncode:
            print(f"{name}: left out, {output.stderr.splitlines()[-1]}")
        else:
            rows[name] = json.loads(output.stdout.splitlines()[-1])
    results = {"formats": rows, "imports": imports()}
    print(f"\n{results_table(rows)}\n\n{results_table(results['imports'])}")
    write_json(args.output, {"results": results, "protocol": {**vars(args), "run": str(args.run), **environment()}})


if __name__ == "__main__":
    main()
