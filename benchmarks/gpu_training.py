"""Trainings of the presets on a GPU, with `model.fit` on the JAX backend: photos stay on the device, as tiles.

Crops, flips, quarter turns and degradations are made there too, so that the host has nothing to do; TensorFlow is not
needed. A training ends after its minutes: the learning rate falls by a cosine of the time that has passed.
"""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from arguments import Parser, positive
from gpu_crops import pair_batches, tiles_of
from gpu_degradations import halved, jpeg, noise, same

TILE = 192
SCALES = (1.0, 0.7, 0.5)  # of the photos: in smaller ones a crop has more edges and textures
WARMUP_STEPS = 300


def restoration(side: int, **kwargs):
    from keras_recon.models import RestorationUNet

    return RestorationUNet((side, side, 3), **kwargs)


def vit():
    from keras_recon.models import ViTReconstructor

    return ViTReconstructor.from_variant("micro", image_shape=(64, 64, 3), num_layers=6, decoder_num_layers=4)


def autoencoder():
    from keras_recon.models import ConvAutoencoder

    return ConvAutoencoder.from_variant("micro", image_shape=(64, 64, 3), latent_dim=12)


def warm_start(model, source: str):
    """Give a model the weights of another that has the same layers, or fewer."""
    from keras_recon import load_model

    weights = {path_in(weight): weight for weight in model.weights}
    for weight in load_model(source).weights:
        weights[path_in(weight)].assign(weight)


def path_in(weight) -> str:
    return weight.path.split("/", 1)[1]  # behind the model's name


def codec():
    from keras_recon.compression import ImageCodec

    return ImageCodec()


class Task(NamedTuple):
    """A model, what makes (degraded, clean) pairs of a key and crops, the side of the crops, and how it is trained."""

    build: Callable
    pairs_of: Callable
    side: int
    batch_size: int
    learning_rate: float
    loss: str


TASKS = {
    "denoise": Task(partial(restoration, 96), noise, 96, 32, 1e-3, "charbonnier"),
    "deblock": Task(partial(restoration, 80), jpeg, 96, 32, 1e-3, "charbonnier"),
    "upscale2": Task(partial(restoration, 40, upscale=2), halved, 96, 32, 1e-3, "charbonnier"),
    "vit": Task(vit, same, 64, 64, 2e-3, "mse"),
    "codec": Task(codec, same, 128, 32, 1e-3, "mse"),
    "autoencoder": Task(autoencoder, same, 64, 32, 3e-3, "mse"),
}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder, searched recursively")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="after which it ends")
    parser.add_argument("--steps-per-epoch", type=positive, default=200, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=positive, help="images a step")
    parser.add_argument("--learning-rate", type=float, help="at its peak")
    parser.add_argument("--warm-start", metavar="MODEL", help="a preset or file, whose weights it begins with")
    parser.add_argument("--output", type=Path, required=True, help="a .npz file, of `model.get_weights()`")
    args = parser.parse_args(argv)
    start = time.time()
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several trainings share a GPU
    import jax
    import keras

    from keras_recon import losses
    from keras_recon.images import read_image
    from keras_recon.images.pixels import to_channels
    from keras_recon.metrics import PSNR

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    task = TASKS[args.task]
    side, batch_size = task.side, args.batch_size or task.batch_size
    learning_rate = args.learning_rate or task.learning_rate
    held_out, tiles = [], []
    for i, path in enumerate(sorted(args.photos.rglob("*.jpg"))):
        (held_out if i % 20 == 10 else tiles).extend(tiles_of(to_channels(read_image(path).pixels, 3), TILE, SCALES))
    held_out, tiles = np.stack(held_out[:: max(1, len(held_out) // 256)]), jax.device_put(np.stack(tiles))
    print(f"{args.task}: {len(tiles)} tiles, {len(held_out)} held out, {time.time() - start:.0f} s", flush=True)

    def batches(tiles, seed):
        return pair_batches(tiles, side, batch_size, task.pairs_of, seed)

    model = task.build()
    if args.warm_start:
        warm_start(model, args.warm_start)
    elif getattr(model, "linear_path", True):
        model.adapt(pair for pair, _ in zip(batches(tiles, 1), range(64)))
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=0.0, epsilon=1e-10, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
    )
    model.compile(optimizer, losses.from_string(task.loss), metrics=[PSNR()])

    class ByTime(keras.callbacks.Callback):
        """The learning rate and the end by the time that has passed since the first epoch."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:  # the first compiles
                self.start = time.time()
            passed = (time.time() - self.start) / (start + 60 * args.minutes - self.start) if epoch else 0.0
            warm = min(1.0, (epoch + 1) * args.steps_per_epoch / WARMUP_STEPS)
            cosine = 0.5 * (1 + np.cos(np.pi * min(passed, 1.0)))
            self.model.optimizer.learning_rate = learning_rate * warm * cosine

        def on_epoch_end(self, epoch, logs=None):
            passed = time.time() - start
            log = {k: round(float(v), 5) for k, v in logs.items()}
            print(json.dumps({"task": args.task, "seconds": round(passed, 1), "epoch": epoch, **log}), flush=True)
            if epoch % 10 == 9:
                np.savez(args.output, *self.model.get_weights())
            self.model.stop_training = passed > 60 * args.minutes

    model.fit(batches(tiles, 2), epochs=10**6, steps_per_epoch=args.steps_per_epoch, verbose=0, callbacks=[ByTime()])
    np.savez(args.output, *model.get_weights())  # the averaged ones
    scores = model.evaluate(batches(jax.device_put(held_out), 3), steps=512 // batch_size, verbose=0, return_dict=True)
    print(json.dumps({"task": args.task, "held out": scores}), flush=True)


if __name__ == "__main__":
    main()
