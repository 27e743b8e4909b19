"""Find defects by what a model that was trained on good images cannot reconstruct.

FOLDER is laid out as the data sets of MVTec AD: train/good, test/good, test/<kind> and ground_truth/<kind>. Train the
models on its train/ first: python examples/train_autoencoder.py --data FOLDER/train --channels 1
"""

import argparse
import sys
import textwrap
from pathlib import Path

from app.parser import Parser, fail, printable
from app.quiet import quiet_start

RESULTS, PICTURE = "anomalies.json", "anomalies.png"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the data set")
    parser.add_argument("--models", type=Path, nargs="+", required=True, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--sigma", type=float, default=2.0, help="pixels by which error maps are smoothed (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("saved_models/anomalies"), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    for folder in (args.folder / "train" / "good", args.folder / "test" / "good"):
        if not folder.is_dir():
            parser.error(f"FOLDER must have train/good and test/good. Received: {args.folder} (no {folder})")
    for run in args.models:
        if not run.is_dir():
            parser.error(f"--models must be folders of finished runs. Received: {run}")
    names = [run.resolve().name for run in args.models]
    if len({*names, "pca"}) <= len(names):
        parser.error(f"--models must be folders of different names, none of them pca. Received: {names}")
    if args.sigma < 0:
        parser.error(f"--sigma must not be negative. Received: sigma={args.sigma}")
    if (args.output / RESULTS).exists():
        parser.error(f"{args.output / RESULTS} is there: choose another --output, or move it away")
    return args


def main(argv: list[str] | None = None):
    args = parse(argv)
    try:
        detect(args)
    except (ValueError, OSError) as error:
        fail(error)


def detect(args: argparse.Namespace):
    """Score the test images by every model, write and print what came out."""
    with quiet_start():
        from keras_recon import anomaly, data, load_model, reconstruct  # from here on imports take seconds
        from keras_recon.evaluation.baselines import fit_pca
        from keras_recon.images.pixels import to_float
        from keras_recon.utils.environment import environment
        from keras_recon.utils.files import write_json
        from keras_recon.utils.tables import results_table

    models = {run.resolve().name: load_model(run) for run in args.models}
    images = anomaly.load_images(args.folder)
    channels = {model.image_shape[-1] for model in models.values()}
    if len(channels) > 1:
        raise ValueError(f"--models must be of one number of channels. Received: {sorted(channels)}")
    (channels,) = channels
    args.output.mkdir(parents=True, exist_ok=True)  # refused here, not after the work
    good = data.folder_photos(args.folder / "train", channels=channels)
    photos = [to_float(data.read_photo(image.path, channels)) for image in images]
    # PCA with the patches and latents of the first model.
    first = next(iter(models.values()))
    models["pca"] = fit_pca(first, data.training_batches(good, first.image_shape, 64, 100, epochs=1, seed=0))
    results, maps = {}, {}
    for name, model in models.items():
        print(f"{printable(name)}: {len(photos)} images", file=sys.stderr)
        maps[name] = [anomaly.error_map(p, reconstruct(model, p), args.sigma) for p in photos]
        results[name] = {**anomaly.auroc(images, maps[name]), "compression ratio": model.compression_ratio}
    protocol = {
        "data": f"{len(good)} good images for training, {len(images)} test images",
        "small images": (small := of_small(photos, models)),
        "error map": f"squared error, mean over channels, smoothed by a Gaussian of {args.sigma:g} pixels",
        "image score": "maximum of the error map",
        "pixel AUROC": "over all pixels of all test images",
        "a kind's column": "image AUROC of this kind against the good test images",
        "pca": f"patches and latents of {next(iter(models))}, fitted to 6,400 crops of the training images",
        "models": {name: str(run) for name, run in zip(models, args.models)},
        **environment(),
    }
    scores = [
        {"path": str(image.path), "kind": image.kind, **{name: anomaly.image_score(maps[name][i]) for name in maps}}
        for i, image in enumerate(images)
    ]
    anomaly.save_heat_maps(args.output / PICTURE, photos, images, maps)
    # Last: it tells that all is there.
    write_json(args.output / RESULTS, {"results": results, "protocol": protocol, "image scores": scores})
    print(f"\n{results_table(results)}\n")
    if small:
        print(f"{textwrap.fill(small, 80)}\n")
    for name in (RESULTS, PICTURE):
        print(printable(args.output / name))


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
