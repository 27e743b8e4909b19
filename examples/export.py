"""Write a saved model in formats for deployment, and a certificate that each answers as the model does.

The certificate, parity.json, compares them on crops of the validation photos that ship with scikit-image.
"""

import os
import sys
from pathlib import Path

from app.parser import Parser

FORMATS = ("keras", "savedmodel", "onnx", "litert")
CROPS = 6


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a finished run's folder, or a .keras file")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["savedmodel"], help="default: savedmodel")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: the folder 'export' beside the model")
    args = parser.parse_args(argv)
    path = args.model / "model.keras" if args.model.is_dir() else args.model
    if not path.is_file():
        parser.error(f"MODEL must be a finished run's folder or a .keras file. Received: {args.model}")
    output = args.output or path.parent / "export"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes would hide ours

    from keras_recon import data, export_model, load_model  # from here on imports take seconds
    from keras_recon.utils.tables import results_table

    try:
        model = load_model(path)
        _, photos = data.load_photos("sample", model.image_shape[-1])
        crops = data.grid_crops(photos, model.image_shape[:2], max(model.image_shape[:2]), CROPS)
        certificate = export_model(model, output, args.format, crops, crops)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"\n{results_table(certificate['files'])}\n")
    for file in sorted(output.glob("[!.]*")):
        print(file)


if __name__ == "__main__":
    main()
