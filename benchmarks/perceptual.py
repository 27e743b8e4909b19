"""Pixels and perception: PSNR, SSIM, distances of a backbone's features and Fréchet distance, of the same crops."""

from pathlib import Path

import keras
import numpy as np
from arguments import Parser, positive
from PIL import Image

from keras_recon import data, load_model, metrics
from keras_recon.images.pixels import from_float
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table

BATCH = 64
PICTURES, ENLARGED = 8, 3


def measure(outputs: np.ndarray, images: np.ndarray, names: list[str]) -> dict[str, float]:
    """Metrics of `outputs` by their texts, see `keras_recon.metrics.named`, over all images."""
    of_name = {name: metrics.named(name) for name in ("psnr", "ssim", *names)}
    for start in range(0, len(images), BATCH):
        for metric in of_name.values():
            metric.update_state(images[start : start + BATCH], outputs[start : start + BATCH])
    return {metric.name: float(metric.result()) for metric in of_name.values()}


def draw(path: str, pictures: list[np.ndarray]):
    """The same few crops of all systems, a row each."""
    chosen = np.random.default_rng(0).choice(len(pictures[0]), min(PICTURES, len(pictures[0])), replace=False)
    rows = [np.concatenate(list(images[chosen]), axis=1) for images in pictures]
    pixels = from_float(np.concatenate(rows), np.uint8).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    Image.fromarray(pixels).save(path)


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", help="a folder of photos that no model was trained on")
    parser.add_argument(
        "--models", nargs="+", required=True, help="LABEL=MODEL: presets, folders of runs, .keras files"
    )
    parser.add_argument("--metrics", nargs="+", default=[], help="perceptual:PRESET:2,4,6, frechet:PRESET and the like")
    parser.add_argument("--stride", type=positive, default=128, help="pixels between crops (default: 128)")
    parser.add_argument("--output", default="perceptual.json", help="JSON file (default: perceptual.json)")
    parser.add_argument("--picture", help="PNG of some crops: the originals, then a row for each model")
    arguments = parser.parse_args(argv)
    pairs = [text.partition("=") for text in arguments.models]
    if not all(path for _, _, path in pairs):
        parser.error(f"--models must be LABEL=MODEL. Received: {arguments.models}")
    if wrong := [name for name in arguments.metrics if not isinstance(metrics.named(name), keras.Metric)]:
        parser.error(f"--metrics must be as perceptual:PRESET or frechet:PRESET. Received: {wrong[0]}")
    models = {label: load_model(path) for label, _, path in pairs}
    height, width, channels = next(iter(models.values())).image_shape
    photos = data.folder_photos(Path(arguments.photos), channels=channels)
    images = data.grid_crops(photos, (height, width), arguments.stride)
    results, pictures = {}, [images]
    for label, model in models.items():
        pictures.append(model.predict(images, batch_size=BATCH, verbose=0))
        results[label] = measure(pictures[-1], images, arguments.metrics)
    protocol = {
        "photos": arguments.photos,
        "models": {label: path for label, _, path in pairs},
        "crops": f"{len(images)} of {height}x{width}, every {arguments.stride} pixels",
        "average": "per image, then the mean over images; the Fréchet distance of all images",
        **environment(),
    }
    write_json(arguments.output, {"results": results, "protocol": protocol})
    if arguments.picture:
        draw(arguments.picture, pictures)
    print(results_table(results))


if __name__ == "__main__":
    main()
