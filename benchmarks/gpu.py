"""Training and inference on a GPU: keras_recon on the JAX backend, from arrays in memory, PyTorch beside it.

One call of some ten minutes measures, in bfloat16: training steps of the ViT-B/16 and of its masked autoencoder (75 %)
at 224x224, and of the autoencoder `base` at 64x64 and 256x256, beside the same networks with `torch.compile`; then the
inference of each system. keras_recon computes PSNR and SSIM in each step, PyTorch does not; `keras_recon/jax_bare`
shows what that costs. TensorFlow is not needed. What is measured is written at once, should the machine be taken away.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from arguments import Parser, missing, positive
from processes import answer
from training_contestants import CONTESTANTS, keras_facts
from training_speed import measure

DTYPE = "bfloat16"
BATCHES = (1, 64)


@contextmanager
def dumped_programs():
    """A folder that gets the texts of what XLA compiles in processes that begin in the block."""
    flags = os.environ.get("XLA_FLAGS", "")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        try:
            yield Path(folder)
        finally:
            os.environ["XLA_FLAGS"] = flags


def training(task: str, batch: int, smoke_task: str, args) -> dict:
    """The rows of a task's contestants, and how often the compiled programs call cuDNN's flash attention."""
    task, batch = (smoke_task, 2) if args.smoke else (task, args.batch_size or batch)
    with dumped_programs() as folder:
        result = measure(task, args.contestants, DTYPE, batch, args.rounds, args.steps)
        programs = [path.read_text() for path in folder.glob("*after_optimizations.txt")]
    calls = max((text.count('custom_call_target="__cudnn$fmha') for text in programs), default=0)
    return {"task": task, "batch": batch, **result, "calls of flash attention in one program": calls}


def _vit(smoke: bool):
    from keras_recon.models import ViTReconstructor

    sizes = {"image_shape": (16, 16, 3), "patch_size": 4} if smoke else {"image_shape": (224, 224, 3), "patch_size": 16}
    return ViTReconstructor.from_variant("micro" if smoke else "base", latent_dim=48, **sizes)


def _autoencoder(smoke: bool):
    from keras_recon.models import ConvAutoencoder

    side = 16 if smoke else 256
    return ConvAutoencoder.from_variant("micro" if smoke else "base", image_shape=(side, side, 3), latent_dim=48)


def _pretrained(smoke: bool):
    """The architecture of `vit_base_patch16_224_imagenet`; random weights are as fast."""
    import keras_hub

    from keras_recon.models import PretrainedViTReconstructor

    sizes = ((16, 16, 3), 4, 2, 2, 16, 32) if smoke else ((224, 224, 3), 16, 12, 12, 768, 3072)
    return PretrainedViTReconstructor(keras_hub.models.ViTBackbone(*sizes))


SYSTEMS = {"vit": _vit, "autoencoder": _autoencoder, "pretrained": _pretrained}


def one(system: str, smoke: bool, rounds: int):
    """Print the times of a system's inference, on the device and with NumPy arrays in and out, and what `ran`."""
    import jax
    import keras

    keras.config.set_dtype_policy(f"mixed_{DTYPE}")
    model = SYSTEMS[system](smoke)
    values = [[v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    forward = jax.jit(lambda *arrays: model.stateless_call(*arrays, training=False)[0])

    def milliseconds(call: Callable) -> float:
        call()  # compiles
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return 1000 * float(np.median(times))

    row = {}
    images = {n: np.random.default_rng(0).random((n, *model.image_shape), "float32") for n in BATCHES}
    for n, batch in images.items():
        batch = jax.device_put(batch)
        row[f"ms at {n}"] = milliseconds(lambda batch=batch: forward(*values, batch).block_until_ready())
        row[f"images per second at {n}"] = 1000 * n / row[f"ms at {n}"]
    for n, batch in images.items():  # last: Keras gives the weights' memory away
        row[f"ms at {n}, NumPy"] = milliseconds(lambda batch=batch: model.predict_on_batch(batch))
    ran = {"model": type(model).__name__, "image shape": model.image_shape, **keras_facts(model)}
    print(json.dumps({"row": row, "ran": {**ran, "device": jax.devices()[0].device_kind}}))


def inference(args) -> dict:
    """The rows of the systems, each in a process of its own."""
    rows, ran, failed = {}, {}, {}
    for system in SYSTEMS:
        try:
            measured = answer("gpu", "one", (system, args.smoke, args.rounds * args.steps), "jax")
            rows[system], ran[system] = measured["row"], measured["ran"]
        except RuntimeError as error:
            failed[system] = str(error)
    return {"rows": rows, "ran": ran, "failed": failed}


PARTS = {
    "vit": partial(training, "vit-base-224", 128, "vit-micro-16"),
    "mae": partial(training, "mae-base-224", 256, "mae-micro-16"),
    "autoencoder-64": partial(training, "autoencoder-base-64", 256, "autoencoder-micro-16"),
    "autoencoder-256": partial(training, "autoencoder-base-256", 32, "autoencoder-micro-16"),
    "inference": inference,
}
ALLOWED = [name for name, contestant in CONTESTANTS.items() if contestant.backend != "tensorflow"]


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: all)")
    parser.add_argument("--contestants", nargs="+", choices=ALLOWED, default=["keras_recon/jax", "torch/compile"])
    parser.add_argument("--batch-size", type=positive, help="of the trainings (default: 128, 256, 256 and 32)")
    parser.add_argument("--rounds", type=positive, default=5, help="turns, whose median counts (default: 5)")
    parser.add_argument("--steps", type=positive, default=20, help="steps in a turn (default: 20)")
    parser.add_argument("--smoke", action="store_true", help="a trial in tiny sizes, on any machine")
    parser.add_argument("--output", default="gpu.json")
    args = parser.parse_args(argv)
    if why := missing(["jax", "torch"]):
        parser.error(why)
    if args.smoke:
        args.rounds = args.steps = 1
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contestants share the GPU's memory
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import environment, results_table

    results, protocol = {}, {**vars(args), "dtype": DTYPE, "machine": environment()["machine"]}
    for name in args.parts:
        results[name] = PARTS[name](args)
        write_json(args.output, {"results": results, "protocol": protocol})
        print(f"\n{name}\n{results_table(results[name]['rows'])}", flush=True)
        for row, why in results[name]["failed"].items():
            print(f"{row} failed: {why}", flush=True)
    if any(result["failed"] for result in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
