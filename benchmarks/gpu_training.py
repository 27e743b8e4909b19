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

TILE = 192  # at every TILE / 2 pixels, so that each crop of up to TILE / 2 is as likely as another
SCALES = (1.0, 0.7, 0.5)  # of the photos: in smaller ones a crop has more edges and textures
MARGIN = 16  # of a crop, cut off after the degradation
WARMUP_STEPS = 300


def tiles_of(photo: np.ndarray) -> list[np.ndarray]:
    """Tiles (TILE, TILE, 3) that cover a photo at each scale at which it is as large, about as many at each scale."""
    from keras_recon.images.resize import resize_bicubic

    tiles = []
    for scale in SCALES:
        size = tuple(round(scale * side) for side in photo.shape[:2])
        if min(size) < TILE:
            break
        scaled = photo if scale == 1 else resize_bicubic(photo, size)
        step = round(scale * TILE / 2)
        rows, columns = (sorted({*range(0, side - TILE, step), side - TILE}) for side in size)
        tiles += [scaled[y : y + TILE, x : x + TILE] for y in rows for x in columns]
    return tiles


def noise(key, crops):
    """Noisy and clean crops: additive white Gaussian noise, of 0 to 50 of 255."""
    import jax

    keys = jax.random.split(key)
    sigma = jax.random.uniform(keys[0], (len(crops), 1, 1, 1), maxval=50 / 255)
    return crops + sigma * jax.random.normal(keys[1], crops.shape), crops


LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66" + " 99" * 38
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], "float32")


def quantised(plane, table):
    """A plane (height, width) of 0 to 255 after JPEG's quantisation of its 8x8 blocks."""
    import jax.numpy as jnp
    from scipy.fft import dct

    basis = jnp.asarray(dct(np.eye(8), axis=0, norm="ortho"), "float32")
    blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8) - 128
    product = partial(jnp.einsum, precision="highest")
    values = product("ui,aibj,vj->aubv", basis, blocks, basis)
    values = jnp.round(values / table[:, None]) * table[:, None]
    pixels = product("ui,aubv,vj->aibj", basis, values, basis).reshape(plane.shape)
    return jnp.clip(jnp.round(pixels + 128), 0, 255)


def doubled(plane, axis: int):
    """A plane of twice the length along an axis, by the triangle filter of libjpeg."""
    import jax.numpy as jnp

    padded = jnp.pad(plane, [(1, 1) if i == axis else (0, 0) for i in range(2)], "edge")
    n = plane.shape[axis]
    before, after = (jnp.take(padded, jnp.arange(n) + i, axis) for i in (0, 2))
    pairs = jnp.stack([(3 * plane + before) / 4, (3 * plane + after) / 4], axis + 1)
    return pairs.reshape([2 * n if i == axis else plane.shape[i] for i in range(2)])


def jpeg_of(image, quality, subsampled, gray):
    """An image (height, width, 3) in [0, 1], multiples of 16 high and wide, as libjpeg encodes and decodes it."""
    import jax.numpy as jnp

    quality = jnp.round(quality)
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    tables = [np.array(text.split(), "float32").reshape(8, 8) for text in (LUMINANCE, CHROMINANCE)]
    luminance, chrominance = (jnp.clip(jnp.floor((table * scale + 50) / 100), 1, 255) for table in tables)
    product = partial(jnp.einsum, precision="highest")
    ycc = jnp.round(product("cd,hwd->chw", TO_YCC, jnp.round(255 * image)) + np.array([0, 128, 128])[:, None, None])
    y = quantised(ycc[0], luminance)
    chroma = []
    for plane in ycc[1:]:
        small = jnp.round(plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3)))
        halved = jnp.round(doubled(doubled(quantised(small, chrominance), 0), 1))
        chroma.append(jnp.where(subsampled, halved, quantised(plane, chrominance)) - 128)
    rgb = product("dc,chw->hwd", np.linalg.inv(TO_YCC).astype("float32"), jnp.stack([y, *chroma]))
    rgb = jnp.clip(jnp.round(jnp.where(gray, y[..., None], rgb)), 0, 255) / 255
    clean = jnp.where(gray, (image @ TO_YCC[0])[..., None], image)
    return rgb, clean


def jpeg(key, crops):
    """Crops after JPEG and before, both less the margin: quality 8 to 95, a third of them gray, half at 4:2:0."""
    import jax

    n, keys = len(crops), jax.random.split(key, 4)
    quality = 8 + 87 * jax.random.uniform(keys[0], (n,)) ** 1.5  # the lower ones are harder
    subsampled, gray = (jax.random.bernoulli(k, p, (n,)) for k, p in zip(keys[1:], (0.5, 0.35)))
    pairs = jax.vmap(jpeg_of)(crops, quality, subsampled, gray)
    corner = jax.random.randint(keys[3], (2,), 0, MARGIN)  # the blocks of 8 begin anywhere
    side = crops.shape[1] - MARGIN
    return tuple(jax.lax.dynamic_slice(i, (0, *corner, 0), (n, side, side, 3)) for i in pairs)


def halved(key, crops):
    """Crops of half the size, by an antialiased bicubic, and the crops, both less the margin."""
    import jax
    import jax.numpy as jnp

    n, side = crops.shape[:2]
    small = jax.image.resize(crops, (n, side // 2, side // 2, 3), "cubic", precision="highest")
    small = jnp.clip(jnp.round(255 * small), 0, 255) / 255
    m = MARGIN // 2
    return small[:, m // 2 : -m // 2, m // 2 : -m // 2], crops[:, m:-m, m:-m]


def same(key, crops):
    return crops, crops


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
    import jax.numpy as jnp
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
        (held_out if i % 20 == 10 else tiles).extend(tiles_of(to_channels(read_image(path).pixels, 3)))
    held_out, tiles = np.stack(held_out[:: max(1, len(held_out) // 256)]), jax.device_put(np.stack(tiles))
    print(f"{args.task}: {len(tiles)} tiles, {len(held_out)} held out, {time.time() - start:.0f} s", flush=True)

    def crop(tile, key):
        keys = jax.random.split(key, 3)
        y, x = jax.random.randint(keys[0], (2,), 0, TILE - side + 1)
        image = jax.lax.dynamic_slice(tile, (y, x, 0), (side, side, 3))
        flips = jax.random.bernoulli(keys[1], 0.5, (3,))
        image = jnp.where(flips[0], image[::-1], image)
        image = jnp.where(flips[1], image[:, ::-1], image)
        image = jnp.where(flips[2], image.swapaxes(0, 1), image)
        return image.astype("float32") / 255

    @jax.jit
    def batch_of(tiles, key):
        keys = jax.random.split(key, 3)
        index = jax.random.randint(keys[0], (batch_size,), 0, len(tiles))
        crops = jax.vmap(crop)(tiles[index], jax.random.split(keys[1], batch_size))
        return task.pairs_of(keys[2], crops)

    def batches(tiles, seed):
        key = jax.random.key(seed)
        while True:
            key, now = jax.random.split(key)
            yield batch_of(tiles, now)

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
