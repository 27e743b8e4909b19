"""Deblocking and enlarging of whole photos by presets or other models, in the protocols of the papers.

`deblock`: PSNR of Y of gray JPEG files (quality 10, 20, 30, 40; Y is rounded to 8 bits before), and of RGB of colour
ones (4:2:0), by Pillow. `enlarge`: photos are halved by an antialiased bicubic; PSNR of Y, 2 pixels at each side left
out, of outputs rounded to 8 bits. Y is BT.601's, from 16 to 235. Means over photos.
"""

from pathlib import Path

import numpy as np
from arguments import Parser
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from keras_recon import data, load_model, reconstruct
from keras_recon.degradations import JPEG
from keras_recon.images.pixels import to_float
from keras_recon.inference import photo_scores
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table

QUALITIES = (10, 20, 30, 40)


def deblock(model, photos) -> dict:
    """A row per quality: before and after the model."""
    rows = {}
    for quality in QUALITIES:
        scores = []
        for photo in photos:
            gray = np.round(rgb2ycbcr(photo)[..., :1]).astype("uint8")
            row = {}
            for name, clean in (("gray", to_float(gray)), ("colour", to_float(photo))):
                coded = JPEG(quality)(clean, None)
                for what, output in (("JPEG", coded), ("deblocked", reconstruct(model, coded))):
                    row[f"{name} {what}"] = peak_signal_noise_ratio(clean, output, data_range=1)
            scores.append(row)
        rows[f"quality {quality}"] = {name: float(np.mean([row[name] for row in scores])) for name in scores[0]}
    return rows


def enlarge(model, photos) -> dict:
    """A row for the model, and one for bicubic enlarging."""
    factor, rows = model.upscale, {"bicubic": [], "model": []}
    for photo in photos:
        height, width = (size // factor * factor for size in photo.shape[:2])
        photo = photo[:height, :width]
        small = Image.fromarray(photo).resize((width // factor, height // factor), Image.Resampling.BICUBIC)
        bicubic = small.resize((width, height), Image.Resampling.BICUBIC)
        for row, output in zip(rows.values(), (bicubic, reconstruct(model, np.asarray(small)))):
            row.append(photo_scores(photo, np.asarray(output), "y", border=factor)["psnr"])
    return {name: {"psnr": float(np.mean(row))} for name, row in rows.items()}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("task", choices=("deblock", "enlarge"))
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder, searched recursively")
    parser.add_argument("--model", required=True, help="a preset, a .keras file or the folder of a run")
    parser.add_argument("--json", type=Path, default="restoration.json", help="what to write (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        model, photos = load_model(args.model), data.folder_photos(args.photos)
    except ValueError as error:
        parser.error(str(error))
    if (model.upscale > 1) != (args.task == "enlarge"):
        parser.error(f"--model must be one for the task {args.task}. Received: {args.model}")
    rows = {"deblock": deblock, "enlarge": enlarge}[args.task](model, photos)
    print(results_table(rows))
    write_json(args.json, {"results": rows, "protocol": {"model": args.model, "photos": len(photos), **environment()}})


if __name__ == "__main__":
    main()
