"""Make a preset of trained weights: a .keras file whose weights are float16, where that loses nothing that shows.

WEIGHTS is what `gpu_training.py` writes, or the model of another training.
"""

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from arguments import Parser
from gpu_training import TASKS

from keras_recon.models.image_model import ImageModel

TILES = {"denoise": 128, "deblock": 128, "upscale2": 64}  # sides of the tiles of whole photos
MAX_FLOAT16 = 6e4


def halved(source: Path, target: Path):
    """Copy a .keras file, deflated, with float16 for each float32 weight that has no larger number."""
    with (
        TemporaryDirectory() as folder,
        zipfile.ZipFile(source) as read,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written,
    ):
        weights = Path(read.extract("model.weights.h5", folder))
        # The layout of HDF5 1.8 has smaller headers than the default: up to 8 % of a file.
        with h5py.File(weights) as full, h5py.File(Path(folder, "half.h5"), "w", libver=("v108", "v108")) as half:

            def copy(name, item):
                if isinstance(item, h5py.Dataset):
                    value = item[()]
                    small = value.dtype == np.float32 and np.abs(value).max(initial=0) < MAX_FLOAT16
                    half.create_dataset(name, data=value.astype("float16") if small else value)
                else:
                    half.create_group(name)
                (half[name]).attrs.update(item.attrs)

            half.attrs.update(full.attrs)
            full.visititems(copy)
        for name in ("metadata.json", "config.json"):
            written.writestr(name, read.read(name))
        written.write(Path(folder, "half.h5"), "model.weights.h5")


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a .npz or .keras file")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a .keras file")
    args = parser.parse_args(argv)
    if args.weights.suffix == ".keras":
        model = ImageModel.from_preset(args.weights)
    else:
        model = TASKS[args.task].build()
        with np.load(args.weights) as arrays:
            model.set_weights([*arrays.values()])
    if args.task in TILES:
        model = model.for_image_shape((TILES[args.task], TILES[args.task], 3))
    with TemporaryDirectory() as folder:
        model.save(Path(folder, "model.keras"))
        halved(Path(folder, "model.keras"), args.output)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
