"""Compare a masked model with what needs no training on the hidden pixels of photos."""

import time
from pathlib import Path

import keras
import numpy as np
from arguments import Parser, positive
from scipy.interpolate import griddata
from skimage.restoration import inpaint_biharmonic

from keras_recon import data, load_model
from keras_recon.evaluation.scores import evaluate, hidden_psnr
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table


def bilinear(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Hidden pixels by linear interpolation between visible ones, outside of these the nearest.

    Args:
        images: (images, height, width, channels).
        hidden: boolean (height, width), the same for all.
    """
    positions, targets = np.argwhere(~hidden), np.argwhere(hidden)
    values = images[:, ~hidden].swapaxes(0, 1).reshape(len(positions), -1)  # all images at once: one triangulation
    filled = griddata(positions, values, targets, method="linear")
    outside = np.isnan(filled).any(axis=1)
    filled[outside] = griddata(positions, values, targets[outside], method="nearest")
    outputs = images.copy()
    outputs[:, hidden] = filled.reshape(len(targets), len(images), -1).swapaxes(0, 1)
    return outputs


def biharmonic(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """`skimage.restoration.inpaint_biharmonic` of each image; arguments as in `bilinear`."""
    return np.stack([inpaint_biharmonic(image, hidden, channel_axis=-1) for image in images]).clip(0, 1)


def mean_patch(model, images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The mean patch of the model's training in place of hidden ones."""
    patch = keras.ops.convert_to_numpy(model.linear.output_mean).reshape(model.patch_size, model.patch_size, -1)
    rows, columns, _ = model.latent_shape
    return np.where(hidden[..., None], np.tile(patch, (rows, columns, 1)), images)


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", help="a folder of photos, or 'sample' for the validation photos of the sample data")
    parser.add_argument("--model", required=True, help="model.keras of a run of examples/pretrain_mae.py")
    parser.add_argument("--limit", type=positive, default=64, help="crops, spread over the photos (default: 64)")
    parser.add_argument("--output", default="inpainting.json", help="JSON file (default: inpainting.json)")
    arguments = parser.parse_args(argv)
    if not Path(arguments.model).exists():
        parser.error(f"--model must be a .keras file. Received: {arguments.model}")
    model = load_model(arguments.model)
    if not model.is_masked:
        parser.error(f"--model must be a masked model. Received: model={arguments.model!r}")
    height, width, channels = model.image_shape
    if arguments.photos == "sample":
        photos = data.load_photos("sample", channels)[1]
    else:
        try:
            photos = data.folder_photos(Path(arguments.photos), channels=channels)
        except ValueError as error:
            parser.error(str(error))
    images = data.grid_crops(photos, (height, width), max(height, width), arguments.limit)
    hidden = np.kron(model.fixed_mask[0], np.ones((model.patch_size,) * 2, bool))
    fills = {"model": lambda images, hidden: model.predict(images, verbose=0)}
    if model.linear_path:
        fills["mean patch"] = lambda images, hidden: mean_patch(model, images, hidden)
    fills |= {"bilinear": bilinear, "biharmonic": biharmonic}
    results = {}
    for name, fill in fills.items():
        start = time.perf_counter()
        outputs = fill(images, hidden).astype("float32")
        seconds = time.perf_counter() - start
        scores = evaluate(lambda degraded, outputs=outputs: outputs, [(images, images)])
        results[name] = {"hidden psnr": hidden_psnr(scores["psnr"], hidden), **scores, "seconds": seconds}
    protocol = {
        "photos": arguments.photos,
        "model": arguments.model,
        "crops": f"{len(images)} of {model.image_shape}, on a fixed grid",
        "mask": f"{model.fixed_mask.sum()} of {model.fixed_mask.size} patches hidden, the same in every image",
        "average": "metrics per image, then the mean; `hidden psnr` on hidden pixels, the others on whole images",
        **environment(),
    }
    write_json(arguments.output, {"results": results, "protocol": protocol})
    print(results_table(results))


if __name__ == "__main__":
    main()
