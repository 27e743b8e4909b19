"""Bits and quality of a learned codec beside JPEG, WebP and AVIF as Pillow writes them, and PCA, on whole photos.

Every bit of a file counts. PCA is that of 8x8 patches, fitted to --training photos: all values, rounded by an equal
step; its bits are the cross-entropy under probabilities fixed on those photos, which an arithmetic coder reaches, and
40 of a header. Bits per pixel, the PSNR of RGB and MS-SSIM, of 8 bits, are means over the photos at each quality. Every
curve becomes a file in the format of CompressAI's results, which its plots read, and all become `curves.png`. Last come
the parts of the learned codec's files.
"""

import io
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL
from arguments import Parser
from keras import ops
from PIL import Image
from scipy.interpolate import PchipInterpolator

from keras_recon import data, load_model, metrics
from keras_recon.compression import ImageCodec, compress, decompress, files
from keras_recon.compression.coder import Encoder, bits
from keras_recon.evaluation.figures import save_rate
from keras_recon.evaluation.rate import LatentCoder, bd_rate
from keras_recon.models import LinearReconstructor
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment

# Pillow's options, and qualities.
CODECS = {
    "jpeg": ({"optimize": True, "subsampling": "4:2:0"}, (5, 8, 12, 20, 30, 40, 50, 60, 70, 80)),
    "webp": ({"method": 6}, (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85)),
    "avif": ({"speed": 4}, (20, 30, 40, 50, 60, 70)),
}
QUALITIES = np.linspace(0, 1, 9)  # of the learned one
STEPS = (160, 120, 80, 56, 40, 28, 20, 14)  # of PCA, in 1/255
RATES = (0.25, 0.5, 0.75, 1.0)
MIN_SIDE = 161  # pixels, of MS-SSIM
PATCH, CROP, CROPS = 8, 256, 64  # of training photos, for PCA
PCA_HEADER = 5  # bytes of height, width and step


def transmit(photo: np.ndarray, codec: str, quality: int) -> tuple[int, np.ndarray]:
    """Bytes of a photo's file, and what is read from it."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, codec, quality=quality, **CODECS[codec][0])
    with Image.open(file) as image:
        return len(file.getvalue()), np.asarray(image.convert("RGB"))


def pca_codec(photos: data.Photos) -> Callable:
    """A function of a photo and a step that gives its bytes and what is decoded, as `transmit` does."""
    rng, crops = np.random.default_rng(0), []
    for photo in (photos[index] for index in rng.permutation(len(photos))[:CROPS]):
        sides = [min(CROP, side // PATCH * PATCH) for side in photo.shape[:2]]
        top, left = (rng.integers(whole - side + 1) for whole, side in zip(photo.shape, sides))
        crops.append(photo[None, top : top + sides[0], left : left + sides[1]] / np.float32(255))
    pca = LinearReconstructor((None, None, 3), PATCH, latent_dim=3 * PATCH**2)
    pca.adapt(crops)
    fitted = np.concatenate([ops.convert_to_numpy(pca.encode(crop)).reshape(-1, pca.latent_dim) for crop in crops])
    gains = np.linalg.norm(ops.convert_to_numpy(pca.linear.decoder), axis=1)
    coder = cache(lambda step: LatentCoder(fitted, gains, step / 255))

    def code(photo, step):
        padded = np.pad(photo, [*((0, -side % PATCH) for side in photo.shape[:2]), (0, 0)], "edge")
        rounded, sizes = coder(step)(ops.convert_to_numpy(pca.encode(padded[None] / np.float32(255))))
        decoded = np.rint(255 * ops.convert_to_numpy(pca.decode(rounded))[0]).astype("uint8")
        return int(sizes[0]) + PCA_HEADER, decoded[: photo.shape[0], : photo.shape[1]]

    return code


def curve(photos: data.Photos, qualities, coded: Callable) -> dict[str, list[float]]:
    """Means over the photos at each quality, in CompressAI's words."""
    points = []
    for quality in qualities:
        rows = []
        for photo in photos:
            start = time.perf_counter()
            size, decoded = coded(photo, quality)
            seconds = time.perf_counter() - start
            pair = [image[None] / np.float32(255) for image in (photo, decoded)]
            scores = [float(metric(*pair)[0]) for metric in (metrics.psnr, metrics.multi_scale_ssim)]
            rows.append((8 * size / photo[..., 0].size, *scores, seconds))
        points.append(np.mean(rows, axis=0))
        print("{:7.3f} {:7.4f} {:7.3f} {:8.5f} {:6.2f}".format(quality, *points[-1]), flush=True)
    bpp, psnr, ms_ssim, _ = np.transpose(points).tolist()
    return {"bpp": bpp, "psnr-rgb": psnr, "ms-ssim-rgb": ms_ssim}


def parts(model: ImageCodec, photos: data.Photos, quality: float) -> np.ndarray:
    """Bits per pixel of the header, of hyper-latents and of each slice of latents: means over the photos."""
    costs, rows = [], []

    class Recorder(Encoder):
        def encode(self, symbols, scales):
            super().encode(symbols, scales)
            costs.append(bits(symbols, scales).sum())

    with patch.object(files, "Encoder", Recorder):
        for photo in photos:
            costs.clear()
            compress(model, photo, quality)
            of_hyper, *of_halves = np.reshape(costs, (-1, 1 + 2 * len(model.slices))).sum(axis=0)
            header = 8 * (files.HEADER.size + files.CHECKSUM.size)
            rows.append(np.array([header, of_hyper, *np.reshape(of_halves, (-1, 2)).sum(axis=1)]) / photo[..., 0].size)
    return np.mean(rows, axis=0)


def points(results: dict) -> list[tuple[float, float]]:
    """Bits per pixel and PSNR."""
    return list(zip(results["bpp"], results["psnr-rgb"]))


def at_rate(results: dict, rate: float) -> float:
    """PSNR in dB at bits per pixel, NaN outside of the curve."""
    interpolated = PchipInterpolator(np.log(results["bpp"]), results["psnr-rgb"], extrapolate=False)
    return float(interpolated(np.log(rate)))


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder")
    parser.add_argument("--model", default="codec", help="(default: %(default)s)")
    parser.add_argument("--codecs", nargs="*", choices=CODECS, default=[*CODECS], help="(default: all)")
    parser.add_argument("--training", type=Path, help="folder of other photos, for PCA; without it, PCA is left out")
    parser.add_argument("--output", type=Path, default=Path("rate_distortion"), help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        photos = data.folder_photos(args.photos)
        small = [key for key, photo in zip(photos.keys, photos) if min(photo.shape[:2]) < MIN_SIDE]
        if small:
            raise ValueError(f"PHOTOS must have at least {MIN_SIDE} pixels a side, for MS-SSIM. Received: {small[0]}")
        pca = pca_codec(data.folder_photos(args.training)) if args.training else None
        model = load_model(args.model, ImageCodec)
    except ValueError as error:
        parser.error(str(error))

    def learned(photo, quality):
        file = compress(model, photo, quality)
        return len(file), decompress(model, file)

    coded = {name: (CODECS[name][1], lambda photo, q, name=name: transmit(photo, name, q)) for name in args.codecs}
    coded |= {"pca": (STEPS, pca)} if pca else {}
    coded["keras_recon"] = (QUALITIES, learned)
    learned(photos[0], 0.5)  # what is set up once
    print("quality     bpp    psnr  ms-ssim  seconds, to encode and decode a photo")
    curves = {}
    for name, (qualities, function) in coded.items():
        print(name)
        curves[name] = curve(photos, qualities, function)
    print("PSNR at bpp  " + "".join(f"{rate:8.2f}" for rate in RATES) + "  BD-rate of keras_recon")
    made = f"{len(photos)} photos, Pillow {PIL.__version__}, {', '.join(environment().values())}"
    for name, results in curves.items():
        saved = bd_rate(points(curves["keras_recon"]), points(results))
        scores = "".join(f"{at_rate(results, rate):8.2f}" for rate in RATES)
        print(f"{name:13}{scores}  " + ("" if saved is None else f"{saved:+.1%}"))
        description = f"{args.model}, {made}" if name == "keras_recon" else made
        content = {"name": name, "description": description, "results": results}
        write_json(args.output / f"{name}.json", content)
    print(f"quality     bpp  % of header, hyper-latents, latents of {model.slices} channels")
    for quality in QUALITIES[::2]:
        of_parts = parts(model, photos, quality)
        shares = "".join(f"{share:7.2f}" for share in 100 * of_parts / of_parts.sum())
        print(f"{quality:7.3f} {of_parts.sum():7.4f}  {shares}", flush=True)
    curves = {name: points(results) for name, results in curves.items()}
    save_rate(args.output / "curves.png", curves, {}, codecs=CODECS, unit="bits per pixel")


if __name__ == "__main__":
    main()
