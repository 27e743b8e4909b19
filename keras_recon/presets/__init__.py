"""Trained models that ship with the package, by name; the README.md in this folder has their model cards."""

from pathlib import Path

from keras_recon.utils.run import Run

# What each model does with an image.
PRESETS = {
    "denoise": "removes colour noise of an unknown strength, sigma 0 to 50 of 255",
    "deblock": "removes the blocks of JPEG files of an unknown quality, 10 to 90",
    "upscale2": "makes photos twice as high and wide",
    "vit": "Vision Transformer that compresses 16 values to one",
    "autoencoder": "convolutional autoencoder that compresses 16 values to one",
}
# Models that compress photos to files.
CODECS = {"codec": "makes small files of photos at any quality: examples/compress.py"}


def describe() -> str:
    """Return the names and descriptions of the presets, one per line.

    Example:
    >>> print(keras_recon.presets.describe().splitlines()[0])
    denoise      removes colour noise of an unknown strength, sigma 0 to 50 of 255
    """
    return "\n".join(f"{name:<12} {text}" for name, text in (PRESETS | CODECS).items())


def model_file(source: str | Path, argument: str = "path") -> Path:
    """Find the `.keras` file of a preset or of a run.

    Args:
        source: name of a preset, folder of a run, or path of a `.keras` file. An existing file or folder takes
            precedence over a preset of the same name.
        argument: name of the caller's argument, for the error message.

    Returns:
        The path of the file.

    Raises:
        ValueError: if there is no such file.

    Example:
    >>> keras_recon.presets.model_file("denoise").name
    'denoise.keras'
    """
    path = Path(source)
    if str(source) in PRESETS | CODECS and not path.exists():
        return Path(__file__).with_name(f"{source}.keras")
    file = Run(path).model if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        found = "" if file.exists() else ", which does not exist"
        raise ValueError(
            f"`{argument}` must be a .keras file, the folder of a run, or one of {[*PRESETS, *CODECS]}. "
            f"Received: {argument}={str(file)!r}{found}"
        )
    return file
