"""Detect defects: fit detectors to good photos, or use reconstruction errors, and measure both on test images.

FOLDER has the layout of MVTec AD: train/good, test/good, test/<kind> and ground_truth/<kind>.

Detectors use features of a pretrained backbone and take seconds to minutes to fit:
--methods ensemble --preset hf://google/vit-base-patch16-224

--models measures the reconstruction errors of finished runs, which must be trained on good images first:
python examples/train_autoencoder.py --data FOLDER/train --channels 1
"""

import argparse
import os
import sys
import textwrap
import time
from pathlib import Path

from app.parser import Parser, fail, printable
from app.quiet import quiet_start

RESULTS, PICTURE = "anomalies.json", "anomalies.png"
METHODS = ("ensemble", "classifier", "nearest", "gaussian")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of the data set")
    add("--models", type=Path, nargs="+", default=[], metavar="RUN", help="folders of finished runs")
    add("--methods", nargs="+", default=[], choices=METHODS, help="methods of detectors on features of --preset")
    add("--preset", help="keras-hub backbone of the detectors: a name, hf://owner/name or a folder")
    add("--side", type=int, default=384, help="pixels of a photo's shorter side for detectors (default: 384)")
    add("--false-alarms", type=float, default=0.05, help="share of good photos above the threshold (default: 0.05)")
    add("--held-out", type=Path, help="good photos for the threshold (default: the last fifth of train/good)")
    add("--cache", type=Path, help="folder in which features are kept for the next call")
    add("--sigma", type=float, default=2.0, help="filter of error maps: standard deviation in pixels (default: 2)")
    add("--output", type=Path, default=Path("saved_models/anomalies"), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    for folder in (args.folder / "train" / "good", args.folder / "test" / "good"):
        if not os.path.isdir(folder):
            parser.error(f"FOLDER must have train/good and test/good. Received: {args.folder} (no {folder})")
    for run in args.models:
        if not os.path.isdir(run):
            parser.error(f"--models must be folders of finished runs. Received: {run}")
    if not args.models and not args.methods:
        parser.error("--models or --methods must be given. Received: neither")
    if bool(args.methods) != bool(args.preset):
        parser.error(f"--methods and --preset go together. Received: {args.methods}, {args.preset}")
    names = [*(run.resolve().name for run in args.models), *(f"{method} detector" for method in args.methods)]
    if len({*names, "pca"}) <= len(names):
        parser.error(f"--models must be folders of different names, none of them pca. Received: {names}")
    if args.sigma < 0:
        parser.error(f"--sigma must not be negative. Received: sigma={args.sigma}")
    if os.path.exists(args.output / RESULTS):
        parser.error(f"{args.output / RESULTS} exists: choose another --output, or move it away")
    return args


def main(argv: list[str] | None = None):
    args = parse(argv)
    try:
        detect(args)
    except (ValueError, OSError, RuntimeError) as error:
        fail(error)


def detect(args: argparse.Namespace):
    """Score the test images with each model and detector, then write and print the results."""
    with quiet_start():
        from keras_recon import anomaly, data, load_model  # slow imports
        from keras_recon.images.pixels import to_float
        from keras_recon.utils.files import write_json
        from keras_recon.utils.tables import environment, results_table

    models = {run.resolve().name: load_model(run) for run in args.models}
    images = anomaly.load_images(args.folder)
    channels = {model.image_shape[-1] for model in models.values()} or {3}
    if len(channels) > 1:
        raise ValueError(f"--models must be of one number of channels. Received: {sorted(channels)}")
    (channels,) = channels
    args.output.mkdir(parents=True, exist_ok=True)  # fails here rather than after the work
    good = data.folder_photos(args.folder / "train", channels=channels)
    photos = [to_float(data.read_photo(image.path, channels)) for image in images]
    maps = reconstruction_maps(models, good, photos, args.sigma)
    detectors = {f"{method} detector": fitted(method, args) for method in args.methods}
    for name, (detector, _) in detectors.items():
        print(f"{name}: {len(images)} images", file=sys.stderr)
        maps[name] = [detector.detect(image.path).map for image in images]
    results = {
        name: anomaly.scores(images, of_model, threshold=1.0 if name in detectors else None)
        for name, of_model in maps.items()
    }
    for name, model in models.items():
        results[name]["compression ratio"] = model.compression_ratio
    protocol = {
        "data": f"{len(good)} good images for training, {len(images)} test images",
        "small images": (small := of_small(photos, models)),
        "image score": "maximum of the map",
        "pixel AUROC": "over all pixels of all test images",
        "AUPRO": "per-region overlap up to 30 % of false positives",
        "a kind's column": "image AUROC of this kind against the good test images",
        **environment(),
    }
    if detectors:
        protocol |= {
            "detectors": f"{args.preset}, short side of {args.side} pixels, false alarms {args.false_alarms:g}",
            "seconds to fit": {name: seconds for name, (_, seconds) in detectors.items()},
        }
    if models:
        protocol |= {
            "error map": f"squared error, mean over channels, smoothed by a Gaussian of {args.sigma:g} pixels",
            "pca": f"patches and latents of {next(iter(models))}, fitted to 6,400 crops of the training images",
            "models": {run.resolve().name: str(run) for run in args.models},
        }
    image_scores = [
        {"path": str(image.path), "kind": image.kind, **{name: anomaly.image_score(maps[name][i]) for name in maps}}
        for i, image in enumerate(images)
    ]
    anomaly.save_heat_maps(args.output / PICTURE, photos, images, maps)
    content = {
        "results": results,
        "95 % intervals": {name: anomaly.intervals(images, of_model) for name, of_model in maps.items()},
        "protocol": protocol,
        "image scores": image_scores,
    }
    write_json(args.output / RESULTS, content)  # last, so that it marks complete results
    print(f"\n{results_table(results)}\n")
    if small:
        print(f"{textwrap.fill(small, 80)}\n")
    for name in (RESULTS, PICTURE):
        print(printable(args.output / name))


def reconstruction_maps(models: dict, good, photos: list, sigma: float) -> dict[str, list]:
    """Compute error maps of the photos by model, and by PCA with the patches and latents of the first model."""
    from keras_recon import anomaly, data, reconstruct
    from keras_recon.evaluation.scores import fit_pca

    if not models:
        return {}
    first = next(iter(models.values()))
    models["pca"] = fit_pca(first, data.training_batches(good, first.image_shape, 64, 100, epochs=1, seed=0))
    maps = {}
    for name, model in models.items():
        print(f"{printable(name)}: {len(photos)} images", file=sys.stderr)
        maps[name] = [anomaly.error_map(photo, reconstruct(model, photo), sigma) for photo in photos]
    return maps


def fitted(method: str, args: argparse.Namespace):
    """Fit a detector to the good photos, save it in the output folder, and measure the seconds that it took."""
    from keras_recon import anomaly

    start = time.perf_counter()
    detector = anomaly.AnomalyDetector(args.preset, method, args.side)
    options = {"held_out": args.held_out} if args.held_out else {}
    detector.fit_good(args.folder / "train" / "good", false_alarms=args.false_alarms, cache=args.cache, **options)
    detector.save(args.output / f"{method}.keras")
    return detector, round(time.perf_counter() - start, 1)


def of_small(photos: list, models: dict) -> str | None:
    """Return a warning if photos (height, width, channels) are smaller than a model's tiles."""
    tiles = [model.image_shape[:2] for model in models.values()]
    count = sum(any(side < least for tile in tiles for side, least in zip(p.shape, tile)) for p in photos)
    if not count:
        return None
    return (
        f"{count} of {len(photos)} test images are smaller than a model's tiles and were mirrored to fill them: "
        "this is a trial, not a measurement."
    )


if __name__ == "__main__":
    main()
