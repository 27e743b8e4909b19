"""What will limit a training, before it starts: `python -m keras_recon.doctor --data FOLDER --model FILE`."""

import argparse
import collections
import math
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import keras_hub
import numpy as np
from PIL import Image

from keras_recon.models import ImageModel, Reconstructor, ViTReconstructor
from keras_recon.models.image_model import check_size
from keras_recon.saving import load_model
from keras_recon.version import __version__

SAMPLE = 200  # photos that are decoded
SECONDS = 3.0  # of each measurement
# Values kept for a trained weight: itself, its gradient, AdamW's two moments and the moving average.
VALUES_PER_WEIGHT = 5


def main(argv: list[str] | None = None) -> int:
    """Print the report; 1 if something is wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m keras_recon.doctor", description=__doc__)
    parser.add_argument("--data", help="'sample', 'tfds:NAME', a folder of images or a CSV file of pairs")
    parser.add_argument("--target", help="folder of the clean photos under the names of those in --data")
    parser.add_argument("--val-target", help="folder of the clean photos of --val-data")
    parser.add_argument("--cache", help="folder that keeps the decoded photos")
    parser.add_argument("--resize", type=int, help="shorter side in pixels that larger photos are made smaller to")
    parser.add_argument("--val-data", help="folder of the photos for validation; a part of --data if not given")
    parser.add_argument(
        "--model", type=Path, help="a .keras file or a preset (default: a new ViT micro for crops of 64x64)"
    )
    parser.add_argument("--channels", type=int, default=3, help="of the new ViT (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    args = parser.parse_args(argv)
    say("backend", f"{keras.backend.backend()} on {', '.join(devices())}")
    packages = (keras, keras_hub, np)
    versions = ", ".join(f"{package.__name__} {package.__version__}" for package in packages)
    say("versions", f"Python {platform.python_version()}, keras_recon {__version__}, {versions}")
    try:
        model = load_model(args.model) if args.model else ViTReconstructor((64, 64, args.channels))
        check_size(model)
        describe_model(model, args.batch_size)
        wrong = check_data(args, model) if args.data else 0
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(wrong > 0)


def say(name: str, text: str):
    """A line of the report."""
    print(f"{name:>10}  {text}", flush=True)


def devices() -> list[str]:
    """What the backend computes on."""
    if keras.backend.backend() == "torch":
        import torch

        count = torch.cuda.device_count()
        return [torch.cuda.get_device_name(i) for i in range(count)] or ["cpu"]
    return keras.distribution.list_devices()


def describe_model(model: ImageModel, batch_size: int):
    """Its shapes, and the memory that its weights take in training."""
    weights = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    image = f"images of {'x'.join(map(str, model.image_shape))}"
    if isinstance(model, Reconstructor):
        image += f" to {'x'.join(map(str, model.latent_shape))} latent values"
    say("load", "import keras_recon, then keras.saving.load_model or keras_recon.load_model")
    say("model", f"{type(model).__name__}, {image}, {weights:,} trainable parameters")
    images = 2 * 4 * batch_size * math.prod(model.image_shape)
    text = f"{(4 * VALUES_PER_WEIGHT * weights + images) / 2**20:,.0f} MiB for weights, gradients, AdamW and a batch"
    say("memory", f"{text}; activations come on top")


def check_data(args: argparse.Namespace, model: ImageModel) -> int:
    """Look at the photos, measure loader and model; the number of bad ones."""
    from keras_recon import data

    batch_size = args.batch_size
    sources = {name: getattr(args, name) for name in ("val_data", "target", "val_target", "resize", "cache")}
    parts = data.load_photos(args.data, model.image_shape[-1], on_bad="skip", **sources)
    parts = [photos.for_upscale(model.upscale) for photos in parts]
    kind = f": pairs, targets {parts[0].upscale} times the size" if parts[0].is_paired else ""
    say("photos", f"{len(parts[0]):,} for training, {len(parts[1]):,} for validation{kind}")
    shapes, bad, largest = [], {}, 1
    for photos in parts:
        bad |= photos.bad
        for i in np.linspace(0, len(photos), min(SAMPLE, len(photos)), endpoint=False).astype(int):
            try:
                photo = photos.read(photos.keys[i])
            except ValueError as error:
                bad[str(photos.keys[i])] = getattr(error, "reason", str(error))
            else:
                images = photo if photos.is_paired else (photo,)
                shapes.append(images[0].shape)
                largest = max(largest, sum(image.size for image in images))
    if shapes:
        heights, widths = zip(*(shape[:2] for shape in shapes))
        sizes = f"{min(heights)} to {max(heights)} high, {min(widths)} to {max(widths)} wide"
        say("sizes", f"{sizes}, median {statistics.median(heights):g}x{statistics.median(widths):g}")
        modes = collections.Counter(mode(parts[0], key) for key in parts[0].keys[:SAMPLE])
        say("channels", ", ".join(f"{count} {name}" for name, count in modes.items()))
        crop = data.crops.crop_size(parts[0], model.image_shape)
        small = sum(h < crop[0] or w < crop[1] for h, w in zip(heights, widths))
        say("small", f"{small} of {len(shapes)} are smaller than the crops of {crop}, and enlarged")
    say("bad", f"{len(bad)} of {len(shapes) + len(bad)} that were decoded")
    for name, reason in list(bad.items())[:10]:
        say("", f"{name!r}: {reason}")
    crops = (model.image_shape, batch_size, 10**5, 1, 0)
    fit = parts[0].cache_bytes // largest
    loaded = (parts[0].unkept(), decoded(parts[0], max(1, min(SAMPLE, fit))))
    cold, batches = (data.training_batches(photos, *crops) for photos in loaded)
    cold, warm = (rate(iter(loader), batch_size) for loader in (cold, batches))
    say("cold", f"{cold:,.0f} images per second from the loader, at most, where photos are decoded")
    say("warm", f"{warm:,.0f} where they were before: up to {parts[0].cache_bytes / 2**20:,.0f} MiB, all with --cache")
    speed = rate(steps(model, next(iter(batches))), batch_size)
    say("training", f"{speed:,.0f} images per second, if they were there")
    paces = {"model": cold >= speed, "loader, until photos are decoded,": warm >= speed, "loader": True}
    say("verdict", f"the {next(name for name in paces if paces[name])} sets the pace")
    return len(bad)


def decoded(photos, count: int):
    """Some of the photos, all decoded before."""
    some = photos.subset(photos.keys[:: -(-len(photos) // count)])
    for i in range(len(some)):
        some.first_usable([i])
    return some


def mode(photos, key) -> str:
    """Pillow's word for the colours of a training photo that is a file."""
    try:
        with Image.open(photos.paths[key][-1]) as image:
            return image.mode
    except (KeyError, OSError):
        return "other"


def steps(model: ImageModel, batch) -> Iterator:
    """Training steps of a copy of the model on one batch."""
    copy = model.clone()
    copy.compile("adamw", "mse")
    images = [np.asarray(part) for part in batch]
    while True:
        yield copy.train_on_batch(*images)


def rate(items: Iterator, batch_size: int) -> float:
    """Images per second of an endless iterator of batches, without its start."""
    next(items), next(items)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        next(items)
        count += 1
    return count * batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
