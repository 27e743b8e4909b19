"""PSNR and SSIM of saved models, PCA and the mean patch on crops of a folder of photos, on a fixed grid."""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, help=".keras files of models with one latent shape")
    parser.add_argument("--photos", required=True, type=Path, help="folder to evaluate on")
    parser.add_argument("--stride", type=int, default=128, help="pixels between crops (default: %(default)s)")
    parser.add_argument("--fit", required=True, help="what PCA is fitted on: 'sample', 'tfds:NAME' or a folder")
    args = parser.parse_args(argv)

    import keras

    from keras_recon import data, evaluation, report

    models = {path.parent.name: keras.saving.load_model(path) for path in args.models}
    first = next(iter(models.values()))
    height, width, channels = first.image_shape
    crops = data.grid_crops(data.folder_photos(args.photos, channels=channels), (height, width), args.stride)
    batches = [(crops[i : i + 64], crops[i : i + 64]) for i in range(0, len(crops), 64)]
    results = {name: evaluation.evaluate(model, batches) for name, model in models.items()}
    training, _ = data.load_photos(args.fit, channels)
    fitting = data.training_batches(training, first.image_shape, 64, steps_per_epoch=100, epochs=1, seed=0)
    results |= evaluation.baselines(first, fitting, batches)
    print(f"{len(crops)} crops of {first.image_shape} from {args.photos}, stride {args.stride}, mean over crops")
    print(report.results_table(results))


if __name__ == "__main__":
    main()
