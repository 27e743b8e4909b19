"""Bytes and PSNR of a learned codec beside JPEG, WebP and AVIF as Pillow writes them, on whole photos.

Every bit of a file counts. Bits per pixel and the PSNR of RGB, of 8 bits each, are means over the photos at each
quality; BD-rate is the mean difference in bits at equal PSNR ("Calculation of average PSNR differences between
RD-curves", Bjontegaard, 2001), of curves interpolated by monotone cubics.
"""

import io
import time
from pathlib import Path

import numpy as np
from arguments import Parser
from PIL import Image
from scipy.interpolate import PchipInterpolator

from keras_recon import load_model
from keras_recon.compression import ImageCodec, compress, decompress
from keras_recon.utils.environment import environment
from keras_recon.utils.files import write_json

# Pillow's options, and qualities.
CODECS = {
    "jpeg": ({"optimize": True, "subsampling": "4:2:0"}, (5, 8, 12, 20, 30, 40, 50, 60, 70, 80)),
    "webp": ({"method": 6}, (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85)),
    "avif": ({"speed": 4}, (20, 30, 40, 50, 60, 70)),
}
QUALITIES = np.linspace(0, 1, 9)  # of the learned one
RATES = (0.25, 0.5, 0.75, 1.0)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype("float64") - b).mean(), 1e-10)))


def transmit(photo: np.ndarray, codec: str, quality: int) -> tuple[int, np.ndarray]:
    """Bytes of a photo's file, and what is read from it."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, codec, quality=quality, **CODECS[codec][0])
    with Image.open(file) as image:
        return len(file.getvalue()), np.asarray(image.convert("RGB"))


def curve(photos: list[np.ndarray], qualities, coded) -> list[dict]:
    """A point for each quality: means over the photos."""
    points = []
    for quality in qualities:
        rows = []
        for photo in photos:
            start = time.perf_counter()
            size, decoded = coded(photo, quality)
            rows.append((8 * size / photo[..., 0].size, psnr(photo, decoded), time.perf_counter() - start))
        rate, score, seconds = np.mean(rows, axis=0)
        points.append({"quality": float(quality), "bpp": float(rate), "psnr": float(score), "seconds": float(seconds)})
        print(f"{quality:7.3f} {rate:7.4f} {score:7.3f} {seconds:6.2f}", flush=True)
    return points


def at_rate(points: list[dict], rate: float) -> float:
    """PSNR in dB at bits per pixel, NaN outside of the curve."""
    rates = [point["bpp"] for point in points]
    interpolated = PchipInterpolator(np.log(rates), [point["psnr"] for point in points], extrapolate=False)
    return float(interpolated(np.log(rate)))


def bd_rate(points: list[dict], anchor: list[dict]) -> float:
    """By how much more bits than the anchor a curve needs at equal PSNR: -0.1 is a tenth less."""
    curves = [([p["psnr"] for p in side], np.log([p["bpp"] for p in side])) for side in (points, anchor)]
    low, high = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
    integrals = [PchipInterpolator(*c).integrate(low, high) for c in curves]
    return float(np.exp((integrals[0] - integrals[1]) / (high - low)) - 1)


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder")
    parser.add_argument("--model", default="codec", help="(default: %(default)s)")
    parser.add_argument("--codecs", nargs="*", choices=CODECS, default=[*CODECS], help="(default: all)")
    parser.add_argument("--output", type=Path, default=Path("rate_distortion.json"), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    paths = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif"))
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    if not photos:
        parser.error(f"PHOTOS must be a folder with photos. Received: {args.photos}")
    model = load_model(args.model, ImageCodec)

    def learned(photo, quality):
        data = compress(model, photo, quality)
        return len(data), decompress(model, data)

    print("quality    bpp    psnr  seconds, to encode and decode a photo")
    curves = {}
    for name in args.codecs:
        print(name)
        curves[name] = curve(photos, CODECS[name][1], lambda photo, q, name=name: transmit(photo, name, q))
    print(args.model)
    learned(photos[0], 0.5)  # what is set up once
    curves["keras_recon"] = curve(photos, QUALITIES, learned)
    print("PSNR at bpp  " + "".join(f"{rate:8.2f}" for rate in RATES) + "  BD-rate of keras_recon")
    for name, points in curves.items():
        scores = "".join(f"{at_rate(points, rate):8.2f}" for rate in RATES)
        print(f"{name:13}{scores}  {bd_rate(curves['keras_recon'], points):+.1%}")
    write_json(args.output, {"photos": len(photos), "model": args.model, "curves": curves, **environment()})


if __name__ == "__main__":
    main()
