import keras

from keras_recon.features.perceptual import parse
from keras_recon.metrics.distances import FrechetDistance, PerceptualDistance, frechet_distance
from keras_recon.metrics.pixels import (
    MS_SSIM_MIN_SIZE,
    PSNR,
    SSIM,
    SSIM_MIN_SIZE,
    BorderRatio,
    MultiScaleSSIM,
    applicable,
    border_steps,
    multi_scale_ssim,
    psnr,
    ssim,
)

__all__ = [
    "MS_SSIM_MIN_SIZE",
    "PSNR",
    "SSIM",
    "SSIM_MIN_SIZE",
    "BorderRatio",
    "FrechetDistance",
    "MultiScaleSSIM",
    "PerceptualDistance",
    "applicable",
    "border_steps",
    "frechet_distance",
    "get",
    "multi_scale_ssim",
    "named",
    "psnr",
    "ssim",
]

CLASSES = {"psnr": PSNR, "ssim": SSIM, "ms_ssim": MultiScaleSSIM, "border_ratio": BorderRatio}


def named(identifier):
    """A metric of this package from its text; what is none is given back, also the names of Keras's own.

    That is `"psnr"`, `"ssim"`, `"ms_ssim"`, `"border_ratio"`, `"perceptual:PRESET"` or `"frechet:PRESET"`, where
    `PRESET:1,3,5` and `PRESET:12` name blocks.

    Example:
    >>> keras_recon.metrics.named("ssim").name
    'ssim'
    >>> keras_recon.metrics.named("perceptual:deit_tiny:1,3,5").name
    'perceptual_deit_tiny_1_3_5'
    """
    if not isinstance(identifier, str):
        return identifier
    kind, _, preset = identifier.partition(":")
    if kind == "perceptual" and preset:
        return PerceptualDistance(*parse(preset))
    if kind == "frechet" and preset:
        preset, depths = parse(preset)
        if len(depths := depths or (None,)) > 1:
            raise ValueError(f"`frechet:PRESET` takes one block at most. Received: {identifier!r}")
        return FrechetDistance(preset, *depths)
    return CLASSES[identifier]() if identifier in CLASSES else identifier


def get(identifier):
    """A metric by its text, see `named`, or by Keras's name; others are given back.

    Example:
    >>> keras_recon.metrics.get("psnr").name
    'psnr'
    """
    metric = named(identifier)
    return keras.metrics.get(metric) if isinstance(metric, str) else metric
