"""Trained models that come with the package, by name; README.md here has their cards."""

from pathlib import Path

# What each makes of an image, by its name.
PRESETS = {
    "denoise": "removes colour noise of an unknown strength, sigma 0 to 50 of 255",
    "deblock": "removes the blocks of JPEG files of an unknown quality, 10 to 90",
    "upscale2": "makes photos twice as high and wide",
    "vit": "Vision Transformer that compresses 16 values to one",
    "autoencoder": "convolutional autoencoder that compresses 16 values to one",
}


def describe() -> str:
    """A line per preset.

    Example:

    >>> print(keras_recon.presets.describe().splitlines()[0])
    denoise      removes colour noise of an unknown strength, sigma 0 to 50 of 255
    """
    return "\n".join(f"{name:<12} {text}" for name, text in PRESETS.items())


def path_of(name: str) -> Path:
    """The file of a preset, which `keras_recon.load_model` takes by its name."""
    return Path(__file__).with_name(f"{name}.keras")
