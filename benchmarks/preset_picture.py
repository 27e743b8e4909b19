"""Draw what the presets make of a photo that ships with scikit-image: before, after and the original."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage import data

import keras_recon
from keras_recon.degradations import JPEG, GaussianNoise
from keras_recon.images.pixels import from_float, to_float

ROWS, COLUMNS = slice(96, 256), slice(200, 440)


def main(path: str = "examples/presets.png"):
    photo = data.coffee()[: 400 // 8 * 8]
    clean, rng = to_float(photo), np.random.default_rng(0)
    noisy, coded = (from_float(degradation(clean, rng), photo.dtype) for degradation in (GaussianNoise(25), JPEG(10)))
    size = photo.shape[1] // 2, photo.shape[0] // 2
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
    inputs = {"denoise": noisy, "deblock": coded, "upscale2": small}
    titles = {"denoise": "noise, sigma 25", "deblock": "JPEG, quality 10", "upscale2": "half the size"}
    figure, axes = plt.subplots(3, 3, figsize=(10, 7), layout="constrained")
    for row, (name, image) in zip(axes, inputs.items()):
        output = keras_recon.reconstruct(keras_recon.load_model(name), image)
        shown = image.repeat(2, axis=0).repeat(2, axis=1) if name == "upscale2" else image
        for axis, title, pixels in zip(row, (titles[name], name, "original"), (shown, output, photo)):
            axis.imshow(pixels[ROWS, COLUMNS], interpolation="nearest")
            axis.set_title(title, fontsize=11)
            axis.axis("off")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
