"""Trained models that come with the package, by name; README.md here has their cards."""

from pathlib import Path

from keras_recon.utils.run import Run

# What each makes of an image, by its name.
PRESETS = {
    "denoise": "removes colour noise of an unknown strength, sigma 0 to 50 of 255",
    "deblock": "removes the blocks of JPEG files of an unknown quality, 10 to 90",
    "upscale2": "makes photos twice as high and wide",
    "vit": "Vision Transformer that compresses 16 values to one",
    "autoencoder": "convolutional autoencoder that compresses 16 values to one",
}
# What makes files of photos.
CODECS = {"codec": "makes small files of photos at any quality: examples/compress.py"}


def describe() -> str:
    """A line per preset.

    Example:

    >>> print(keras_recon.presets.describe().splitlines()[0])
    denoise      removes colour noise of an unknown strength, sigma 0 to 50 of 255
    """
    return "\n".join(f"{name:<12} {text}" for name, text in (PRESETS | CODECS).items())


def model_file(source: str | Path, argument: str = "path") -> Path:
    """The `.keras` file of a preset's name, of a run's folder, or itself; a file or folder comes before a preset.

    A ValueError names the argument if `source` is none of them.

    Example:

    >>> keras_recon.presets.model_file("denoise").name
    'denoise.keras'
    """
    path = Path(source)
    if str(source) in PRESETS | CODECS and not path.exists():
        return Path(__file__).with_name(f"{source}.keras")
    file = Run(path).model if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        found = "" if file.exists() else ", where there is nothing"
        raise ValueError(
            f"`{argument}` must be a .keras file, the folder of a run, or one of {[*PRESETS, *CODECS]}. "
            f"Received: {argument}={str(file)!r}{found}"
        )
    return file
