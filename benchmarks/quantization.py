"""What 8 and 4 bits cost and save, by preset and format: bytes, PSNR lost, milliseconds of a batch.

Formats of `keras_recon.export_model`, and Keras's own `quantize`, which leaves convolutions as they are. Each runs in a
process of its own, on all cores; `denoise` gets noise of sigma 25. Quantised ONNX takes its ranges from `sample`.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import inference_speed
import numpy as np
from arguments import Parser, positive
from processes import answer

PRESETS = {"autoencoder": None, "vit": None, "denoise": "noise:25"}
LOADERS = {
    "keras": inference_speed.load_keras,
    "keras int8": inference_speed.load_keras,
    "keras int4": inference_speed.load_keras,
    "savedmodel": inference_speed.load_savedmodel,
    "onnx": inference_speed.load_onnx,
    "onnx_int8": inference_speed.load_onnx,
    "litert": inference_speed.load_litert,
    "litert_int8": inference_speed.load_litert,
}
NEEDS = {"keras": (), "savedmodel": (), "onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
PHOTOS_AT_ONCE = 16


def one(name: str, path: str, images: str, batches: list[int], rounds: int):
    """Print the PSNR of a file's outputs, (images, height, width, channels), and the milliseconds of its batches."""
    run, _objects = LOADERS[name](path)
    with np.load(images) as arrays:
        given, clean = arrays["given"], arrays["clean"]
    parts = np.split(given, range(PHOTOS_AT_ONCE, len(given), PHOTOS_AT_ONCE))
    errors = (np.concatenate([run(part) for part in parts]).astype("float64") - clean) ** 2
    row = {"psnr": float(np.mean(-10 * np.log10(errors.mean(axis=(1, 2, 3)))))}
    for n in batches:
        batch, times = np.resize(given, (n, *given.shape[1:])), []
        run(batch)
        for _ in range(rounds):
            start = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - start)
        row[f"ms at {n}"] = 1000 * float(np.median(times))
    print(json.dumps(row))


def write(model, name: str, folder: Path, calibration: np.ndarray) -> Path:
    """The file of a format; a RuntimeError or ValueError says why there is none."""
    from keras_recon.export import FORMATS, export_model
    from keras_recon.export.parity import quantization_modes

    if name in FORMATS:
        export_model(model, folder, [name], calibration)
        return folder / FORMATS[name].file
    quantized = model.clone()
    quantized.quantize(name.removeprefix("keras "))
    if not quantization_modes(quantized):
        raise ValueError("Keras quantises dense layers only, and there are none")
    quantized.save(folder / "quantized.keras")
    return folder / "quantized.keras"


def measure(preset: str, names: list[str], args, folder: Path) -> tuple[dict, dict]:
    """The rows of a preset by format, and why the others failed."""
    from keras_recon import data, degradations, load_model

    model, degradation = load_model(preset), degradations.get(PRESETS[preset])
    calibration, clean = (
        data.grid_crops(photos, model.image_shape[:2], model.image_shape[0], args.crops)
        for photos in (data.load_photos("sample")[1], data.folder_photos(args.data))
    )
    if degradation:
        degraded = [degradation(crop, np.random.default_rng((0, i))) for i, crop in enumerate([*calibration, *clean])]
        calibration, given = np.split(np.clip(degraded, 0.0, 1.0).astype("float32"), [len(calibration)])
    else:
        given = clean
    np.savez(folder / "images.npz", given=given, clean=clean)
    rows, failed = {}, {}
    for name in names:
        print(f"{preset}, {name} ...", flush=True)
        try:
            path = write(model, name, folder, calibration)
            arguments = (name, str(path), str(folder / "images.npz"), args.batches, args.rounds)
            row = answer("quantization", "one", arguments, "tensorflow")
        except (RuntimeError, ValueError) as error:
            failed[name] = str(error)
            print(f"{preset}, {name}: {error}")
            continue
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        rows[name] = {"bytes": sum(file.stat().st_size for file in files), **row}
    for row in rows.values() if "keras" in rows else ():
        row["psnr lost"] = rows["keras"]["psnr"] - row["psnr"]
    return rows, failed


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="photos, searched recursively")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=[*PRESETS], help="(default: all)")
    parser.add_argument("--formats", nargs="+", choices=LOADERS, help="(default: all)")
    parser.add_argument("--crops", type=positive, default=96, help="at most, spread over the photos (default: 96)")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 16], help="(default: 1 16)")
    parser.add_argument("--rounds", type=positive, default=20, help="calls, whose median counts (default: 20)")
    parser.add_argument("--output", default="quantization.json")
    args = parser.parse_args(argv)
    kinds = {name: name.removesuffix("_int8").split()[0] for name in LOADERS}
    names = parser.installed(args.formats, {name: NEEDS[kind] for name, kind in kinds.items()})
    from keras_recon.utils.files import write_json
    from keras_recon.utils.tables import environment, results_table

    results, failed = {}, {}
    for preset in args.presets:
        with TemporaryDirectory() as folder:
            try:
                results[preset], failed[preset] = measure(preset, names, args, Path(folder))
            except ValueError as error:  # of --data
                parser.error(str(error))
        print(f"\n{preset}\n{results_table(results[preset])}\n")
    protocol = {
        **vars(args),
        "data": args.data.name,
        "degradations": PRESETS,
        "psnr": "dB, per crop, then the mean over crops; outputs not quantised",
        **environment(),
    }
    write_json(args.output, {"results": results, "failed": failed, "protocol": protocol})


if __name__ == "__main__":
    main()
