"""Colour denoising of whole photos: PSNR of models of keras_recon beside that of classical methods.

The noise is additive, white and Gaussian, of known sigma, and clipped to [0, 1] only with `--clip`. PSNR is over all
channels of an image, of the output clipped to [0, 1]; its mean over the photos is reported.
"""

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from arguments import Parser
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_nl_means, denoise_wavelet

from keras_recon import data, load_model
from keras_recon.degradations import GaussianNoise
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table


def wavelet(noisy: np.ndarray, sigma: float) -> np.ndarray:
    return denoise_wavelet(noisy, sigma, method="BayesShrink", convert2ycbcr=True, channel_axis=-1)


def nl_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    return denoise_nl_means(noisy, 5, 6, h=NL_MEANS_H * sigma, sigma=sigma, fast_mode=True, channel_axis=-1)


def bm3d(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from bm3d import bm3d_rgb

    return bm3d_rgb(noisy, sigma)


NL_MEANS_H = 0.6  # in units of sigma; scikit-image's example of fast_mode with a known sigma


class Method(NamedTuple):
    """What a row's label runs, the modules that it needs, and what the protocol says of it."""

    run: Callable
    needs: tuple[str, ...]
    note: str


METHODS = {
    "wavelet": Method(wavelet, ("pywt",), "scikit-image's denoise_wavelet, BayesShrink, soft, in YCbCr, sigma given"),
    "nl_means": Method(
        nl_means,
        ("skimage",),
        f"scikit-image's denoise_nl_means, fast, 5x5 patches, distance 6, h={NL_MEANS_H} sigma, sigma given",
    ),
    "bm3d": Method(bm3d, ("bm3d",), "bm3d_rgb of the package bm3d, its default profile, sigma given"),
}


def installed(package: str) -> str | None:
    """Its version, if it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def noise(shape: tuple[int, ...], sigma: float, seed: tuple[int, int]) -> np.ndarray:
    """NumPy's own numbers, which anyone can make again; `GaussianNoise` has others, which are made sooner."""
    return np.random.default_rng(seed).standard_normal(shape, "float32") * np.float32(sigma / 255)


def of_model(path: Path) -> Callable:
    """A saved model as a method; it is not told sigma."""
    from keras_recon.inference import reconstruct

    model = load_model(path)
    return lambda noisy, sigma: reconstruct(model, noisy)


def measure(method: Callable, pairs: list[tuple[np.ndarray, np.ndarray]], sigma: float) -> dict:
    """PSNR in dB of each (noisy, clean) pair after `method(noisy, sigma)`, and the seconds that a photo took."""
    psnr, start = [], time.perf_counter()
    for noisy, clean in pairs:
        output = np.clip(method(noisy, sigma), 0, 1).astype("float32")
        psnr.append(peak_signal_noise_ratio(clean, output, data_range=1))
    return {"psnr of photos": psnr, "seconds per photo": (time.perf_counter() - start) / len(pairs)}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("photos", type=Path, metavar="PHOTOS", help="folder, searched recursively")
    add("--sigma", type=float, default=25.0, help="of the noise, in units of 1/255 (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    add("--clip", action="store_true", help="clip the noisy images to [0, 1], as files do")
    add("--methods", nargs="*", choices=METHODS, help="classical rows (default: all that are installed)")
    add("--model", type=Path, nargs="+", default=[], help="presets, .keras files or runs, a row each")
    add("--json", type=Path, default="denoising.json", help="what to write (default: %(default)s)")
    args = parser.parse_args(argv)
    methods = parser.installed(args.methods, {name: method.needs for name, method in METHODS.items()})
    try:
        GaussianNoise(args.sigma)  # refuses what is none
        models = {str(path): of_model(path) for path in args.model}
        photos = data.folder_photos(args.photos)
    except ValueError as error:
        parser.error(str(error))
    images = [photo.astype("float32") / 255 for photo in photos]
    pairs = [(clean + noise(clean.shape, args.sigma, (args.seed, i)), clean) for i, clean in enumerate(images)]
    if args.clip:
        pairs = [(noisy.clip(0, 1), clean) for noisy, clean in pairs]
    rows = {"input": {"psnr of photos": [peak_signal_noise_ratio(c, n, data_range=1) for n, c in pairs]}}
    for name in methods:
        rows[name] = measure(METHODS[name].run, pairs, args.sigma / 255)
    for name, model in models.items():
        rows[name] = measure(model, pairs, args.sigma / 255)
    rows = {name: {"psnr": float(np.mean(row["psnr of photos"])), **row} for name, row in rows.items()}
    print(results_table({name: {k: v for k, v in row.items() if k != "psnr of photos"} for name, row in rows.items()}))
    clipped = "clipped to [0, 1]" if args.clip else "not clipped"
    protocol = {
        "photos": f"{len(photos)} of {args.photos.name}, RGB, in the order of their names",
        "noise": f"additive white Gaussian, sigma {args.sigma:g} of 255, {clipped}, not quantised",
        "seed": f"photo i: numpy.random.default_rng(({args.seed}, i))",
        "psnr": "dB, over all channels of an image, output clipped to [0, 1] and not quantised; mean over photos",
        "input": f"the noisy images, {clipped}",
        **{name: METHODS[name].note for name in methods},
        **environment(),
        "versions": {name: installed(name) for name in ("numpy", "scikit-image", "PyWavelets", "bm3d")},
    }
    write_json(args.json, {"rows": rows, "names of photos": photos.keys, "protocol": protocol})


if __name__ == "__main__":
    main()
