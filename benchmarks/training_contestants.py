"""The contestants of `training_speed.py`: what each label runs, in a process of its own.

`python training_contestants.py TASK CONTESTANT DTYPE BATCH` reads numbers of steps from stdin, a line a turn, and
prints for each the seconds that they took and what ran them, as found in the objects that ran.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from arguments import Parser, positive
from training_costs import DTYPES
from training_tasks import TASKS, AutoencoderTask, ViTTask

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # of Keras, by dtype


def _keras_recon(task: ViTTask | AutoencoderTask):
    return task.keras_model()


def _keras_hub(task: ViTTask):
    """As many blocks in one stack, where encoder and decoder have the same ones."""
    import keras
    import keras_hub

    from keras_recon.layers import LinearDecoder

    sizes, decoder = task.sizes()
    layers, width = sizes["num_layers"] + decoder["num_layers"], sizes["hidden_dim"]
    shape, side = (task.side, task.side, 3), task.side // task.patch_size
    backbone = keras_hub.models.ViTBackbone(shape, task.patch_size, layers, sizes["num_heads"], width, sizes["mlp_dim"])
    features = keras.ops.reshape(backbone.output[:, 1:], (-1, side, side, width))
    return keras.Model(backbone.input, LinearDecoder(task.patch_size, 3)(features))


def _keras(make: Callable, task, dtype: str, images: np.ndarray, turns: "Turns", jit_compile: bool, scored=True):
    """Train by `fit`; `scored` with PSNR and SSIM, where the task has them."""
    import keras

    from keras_recon import metrics

    keras.config.set_dtype_policy(POLICIES[dtype])
    model = make(task)
    scores = [] if not scored else [metrics.PSNR()] if task.mask_ratio else [metrics.PSNR(), metrics.SSIM()]
    model.compile(keras.optimizers.AdamW(1e-4), "mse", metrics=scores, jit_compile=jit_compile)
    pair = (keras.ops.convert_to_tensor(images),) * 2
    data = (pair for _ in itertools.count())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensors(pair).repeat()
    ran = keras_facts(model) | {"compiled": model.jit_compile}

    def after(step, logs):
        turns(lambda: float(logs["loss"]), {**ran, "logs": list(logs)})

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=after)
    model.fit(data, steps_per_epoch=10**9, verbose=0, callbacks=[callback])


def _torch_peer(task: ViTTask | AutoencoderTask):
    return task.torch_model()


def _transformers(task: ViTTask):
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    names = {
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "hidden_dim": "hidden_size",
        "mlp_dim": "intermediate_size",
    }
    encoder, decoder = task.sizes()
    sizes = {names[name]: size for name, size in encoder.items()}
    sizes |= {f"decoder_{names[name]}": size for name, size in decoder.items()}
    config = ViTMAEConfig(image_size=task.side, patch_size=task.patch_size, mask_ratio=task.mask_ratio, **sizes)

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = ViTMAEForPreTraining(config)

        def forward(self, images):
            return self.model(images.permute(0, 3, 1, 2)).loss

    return Loss()


def _torch(make: Callable, task, dtype: str, images: np.ndarray, turns: "Turns", compiled: bool):
    """Train in a loop; with `compiled`, by `torch.compile`."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make(task).to(device)
    images = torch.from_numpy(images).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    loss_of = torch.compile(model) if compiled else model
    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=dtype == "bfloat16")
    first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d))
    with autocast():
        output = first(torch.zeros(1, *first.weight.shape[1:], device=device))
    ran = _facts(model.modules(), output) | {"dtype": str(output.dtype).removeprefix("torch.")}
    while True:
        with autocast():
            loss = loss_of(images)
        compiled_graph = type(loss.grad_fn).__name__ == "CompiledFunctionBackward"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        turns(loss.item, {**ran, "compiled": compiled_graph, "logs": ["loss"]})


def keras_facts(model) -> dict:
    """What a Keras model and the output of its first layer tell of what runs."""
    import keras

    layers = list(model._flatten_layers())
    first = next(layer for layer in layers if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D))
    *window, values, _ = first.kernel.shape
    output = first(keras.ops.zeros((1, *window, values)))
    dtype = keras.backend.standardize_dtype(output.dtype)
    return _facts(layers, output) | {"keras": f"{keras.version()}, {keras.backend.backend()}", "dtype": dtype}


def _facts(layers, output) -> dict:
    """What a model's layers and one of their outputs tell of what runs."""
    framework = sys.modules[type(output).__module__.split(".")[0]]
    return {
        "layers of": sorted({type(layer).__module__.split(".")[0] for layer in layers}),
        "framework": f"{framework.__name__} {framework.__version__}",
        "device": str(output.device),
    }


@dataclass(frozen=True)
class Contestant:
    """What a label runs.

    Attributes:
        backend: KERAS_BACKEND of its process, a module that it needs.
        train: `train(task, dtype, images, turns)` calls `turns` after every step.
        needs: other modules.
        tasks: that it has.
    """

    backend: str
    train: Callable
    needs: tuple[str, ...] = ()
    tasks: tuple[str, ...] = tuple(TASKS)


OWN, HUB = partial(_keras, _keras_recon), partial(_keras, _keras_hub)
ONE_STACK = ("vit-tiny-64", "vit-micro-16")
MASKED = tuple(name for name, task in TASKS.items() if task.mask_ratio)
CONTESTANTS = {
    "keras_recon/tensorflow": Contestant("tensorflow", partial(OWN, jit_compile=False)),
    "keras_recon/tensorflow_xla": Contestant("tensorflow", partial(OWN, jit_compile=True)),
    "keras_recon/tensorflow_xla_bare": Contestant("tensorflow", partial(OWN, jit_compile=True, scored=False)),
    "keras_recon/jax": Contestant("jax", partial(OWN, jit_compile=True)),
    "keras_recon/jax_bare": Contestant("jax", partial(OWN, jit_compile=True, scored=False)),
    "keras_recon/torch": Contestant("torch", partial(OWN, jit_compile=False)),
    "torch/eager": Contestant("torch", partial(_torch, _torch_peer, compiled=False)),
    "torch/compile": Contestant("torch", partial(_torch, _torch_peer, compiled=True)),
    "keras_hub/tensorflow_xla": Contestant("tensorflow", partial(HUB, jit_compile=True), ("keras_hub",), ONE_STACK),
    "keras_hub/jax": Contestant("jax", partial(HUB, jit_compile=True), ("keras_hub",), ONE_STACK),
    "transformers/eager": Contestant(
        "torch", partial(_torch, _transformers, compiled=False), ("transformers",), MASKED
    ),
}


class Turns:
    """Lets a training run for as many steps as a line of stdin says, and prints its seconds and what ran."""

    def __init__(self, output):
        self.output = output
        self.begin()

    def __call__(self, wait: Callable, ran: dict):
        """After a step, whose end `wait()` waits for."""
        self.left -= 1
        if not self.left:
            wait()
            reply = {"seconds": time.perf_counter() - self.start, "ran": ran}
            print(json.dumps(reply), file=self.output, flush=True)
            self.begin()

    def begin(self):
        self.left = int(sys.stdin.readline())
        self.start = time.perf_counter()


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("dtype", choices=DTYPES)
    parser.add_argument("batch", type=positive)
    args = parser.parse_args(argv)
    task, contestant = TASKS[args.task], CONTESTANTS[args.contestant]
    if args.task not in contestant.tasks:
        parser.error(f"{args.contestant} has the tasks {', '.join(contestant.tasks)}. Received: {args.task}")
    images = np.random.default_rng(0).random((args.batch, task.side, task.side, 3), "float32")
    turns = Turns(sys.stdout)
    sys.stdout = sys.stderr
    contestant.train(task, args.dtype, images, turns)


if __name__ == "__main__":
    main()
