from keras_recon.degradations.base import Compose, Degradation, degrade
from keras_recon.degradations.blur import GaussianBlur, MotionBlur
from keras_recon.degradations.masks import BlockMask, FreeFormMask, GridMask, Mask, PatchMask
from keras_recon.degradations.noise import GaussianNoise, PoissonGaussianNoise
from keras_recon.degradations.reduction import JPEG, Downsample, Grayscale
from keras_recon.degradations.text import from_string, get

__all__ = [
    "JPEG",
    "BlockMask",
    "Compose",
    "Degradation",
    "Downsample",
    "FreeFormMask",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "GridMask",
    "Mask",
    "MotionBlur",
    "PatchMask",
    "PoissonGaussianNoise",
    "degrade",
    "from_string",
    "get",
]
