"""Export a saved model to formats for deployment, with a certificate that each file computes what the model computes.

The certificate, parity.json, compares them on crops of the validation photos of `sample`, which come with scikit-image.
"""

import os
import sys
from pathlib import Path

from app.extras import require
from app.parser import Parser, check_model_path, fail
from app.quiet import quiet_start

ONNX, LITERT = ("tf2onnx", "onnxruntime"), ("ai_edge_litert",)
# Packages of the extra `export` that each format needs.
FORMATS = {
    "keras": (),
    "savedmodel": (),
    "onnx": ONNX,
    "litert": LITERT,
    "onnx_int8": ONNX,
    "litert_int8": LITERT,
}
CROPS = 24  # for the ranges of quantised formats; 128 crops gave no better ranges


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a finished run's folder, a .keras file or a preset")
    text = f"some of {', '.join(FORMATS)} (default: savedmodel)"
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["savedmodel"], metavar="FORMAT", help=text)
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: the folder 'export' beside the model")
    args = parser.parse_args(argv)
    check_model_path("MODEL", args.model)
    require("export", *(package for name in args.format for package in FORMATS[name]))

    with quiet_start():
        import numpy as np

        from keras_recon import data, export_model, load_model  # from here on imports take seconds
        from keras_recon.images.pixels import resize_bicubic
        from keras_recon.models.image_model import check_size
        from keras_recon.utils.run import Run
        from keras_recon.utils.tables import results_table

    output = args.output or Run(args.model if os.path.isdir(args.model) else args.model.parent).export
    try:
        model = load_model(args.model)
        check_size(model)  # crops need a size
        _, photos = data.load_photos("sample", model.image_shape[-1])
        sides = [model.upscale * side for side in model.image_shape[:2]]
        clean = data.grid_crops(photos, sides, max(sides), CROPS)
        crops = clean if model.upscale == 1 else [resize_bicubic(crop, model.image_shape[:2]) for crop in clean]
        print(f"exporting {', '.join(args.format)} ...", file=sys.stderr)
        certificate = export_model(model, output, args.format, np.clip(crops, 0.0, 1.0), clean)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        fail(error)
    print(f"\n{results_table(certificate['files'])}\n")
    for file in sorted(output.glob("[!.]*")):
        print(file)


if __name__ == "__main__":
    main()
