"""Find defects by what a pretrained backbone, or a model that was trained on good images, does not know.

FOLDER is laid out as the data sets of MVTec AD: train/good, test/good, test/<kind> and ground_truth/<kind>.

Detectors take seconds to minutes: --methods ensemble --preset hf://google/vit-base-patch16-224. Beside them, or alone,
finished runs, trained on train/ first: python examples/train_autoencoder.py --data FOLDER/train --channels 1
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
METHODS = ("ensemble", "classifier", "nearest", "pca", "gaussian", "decoder")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="the data set")
    add("--models", type=Path, nargs="+", default=[], metavar="RUN", help="folders of finished runs")
    add("--methods", nargs="+", default=[], choices=METHODS, help="detectors on features of --preset")
    add("--preset", help="keras-hub backbone of the detectors: a name, hf://owner/name or a folder")
    add("--side", type=int, default=384, help="pixels of a photo's short side for detectors (default: 384)")
    add("--false-alarms", type=float, default=0.05, help="share of good photos above the threshold (default: 0.05)")
    add("--held-out", type=Path, help="good photos for the threshold (default: the last fifth of train/good)")
    add("--cache", type=Path, help="folder that keeps features, for another try")
    add("--sigma", type=float, default=2.0, help="pixels by which error maps are smoothed (default: 2)")
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
        parser.error(f"{args.output / RESULTS} is there: choose another --output, or move it away")
    return args


def main(argv: list[str] | None = None):
    args = parse(argv)
    try:
        detect(args)
    except (ValueError, OSError, RuntimeError) as error:
        fail(error)


def detect(args: argparse.Namespace):
    """Score the test images by every model and detector, write and print what came out."""
    with quiet_start():
        from keras_recon import anomaly, data, load_model  # from here on imports take seconds
        from keras_recon.images.pixels import to_float
        from keras_recon.utils.files import write_json
        from keras_recon.utils.tables import environment, results_table

    models = {run.resolve().name: load_model(run) for run in args.models}
    images = anomaly.load_images(args.folder)
    channels = {model.image_shape[-1] for model in models.values()} or {3}
    if len(channels) > 1:
        raise ValueError(f"--models must be of one number of channels. Received: {sorted(channels)}")
    (channels,) = channels
    args.output.mkdir(parents=True, exist_ok=True)  # refused here, not after the work
    good = data.folder_photos(args.folder / "train", channels=channels)
    photos = [to_float(data.read_photo(image.path, channels)) for image in images]
    maps = reconstruction_maps(models, good, photos, args.sigma)
    detectors = {f"{method} detector": adapted(method, args) for method in args.methods}
    for name, (detector, _) in detectors.items():
        print(f"{name}: {len(images)} images", file=sys.stderr)
        maps[name] = [detector.predict(image.path).map for image in images]
    results, kinds = {}, {}
    for name, of_model in maps.items():
        threshold = 1.0 if name in detectors else None
        results[name] = anomaly.scores(images, of_model, threshold)
        kinds[name] = anomaly.scores_by_kind(images, of_model, threshold)
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
            "seconds to adapt": {name: seconds for name, (_, seconds) in detectors.items()},
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
        "kinds": kinds,
        "protocol": protocol,
        "image scores": image_scores,
    }
    write_json(args.output / RESULTS, content)  # last: it tells that all is there
    print(f"\n{results_table(results)}\n")
    if small:
        print(f"{textwrap.fill(small, 80)}\n")
    for name in (RESULTS, PICTURE):
        print(printable(args.output / name))


def reconstruction_maps(models: dict, good, photos: list, sigma: float) -> dict[str, list]:
    """Error maps of the photos by model, and by PCA with the patches and latents of the first one."""
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


def adapted(method: str, args: argparse.Namespace):
    """A detector adapted to the good photos, saved in the output's folder, and the seconds that it took."""
    from keras_recon import anomaly

    start = time.perf_counter()
    detector = anomaly.AnomalyDetector(args.preset, method, args.side)
    options = {"held_out": args.held_out} if args.held_out else {}
    detector.adapt(args.folder / "train" / "good", false_alarms=args.false_alarms, cache=args.cache, **options)
    detector.save(args.output / f"{method}.keras")
    return detector, round(time.perf_counter() - start, 1)


def of_small(photos: list, models: dict) -> str | None:
    """What the results are worth where photos (height, width, channels) are smaller than a model's tiles."""
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
