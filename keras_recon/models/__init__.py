"""Models of image reconstruction."""

from keras_recon.models.autoencoder import ConvAutoencoder
from keras_recon.models.image_model import ImageModel
from keras_recon.models.linear import LinearReconstructor
from keras_recon.models.masked import MaskedReconstructor
from keras_recon.models.pretrained import PretrainedViTReconstructor
from keras_recon.models.reconstructor import Reconstructor
from keras_recon.models.restoration import RestorationUNet
from keras_recon.models.vit import ViTReconstructor

__all__ = [
    "ConvAutoencoder",
    "ImageModel",
    "LinearReconstructor",
    "MaskedReconstructor",
    "PretrainedViTReconstructor",
    "Reconstructor",
    "RestorationUNet",
    "ViTReconstructor",
]
