"""Image reconstruction in Keras 3, on TensorFlow, JAX or PyTorch."""

from keras_recon import degradations, layers, losses, metrics, models
from keras_recon.loading import load_model

__version__ = "0.1.0"
__all__ = ["degradations", "layers", "load_model", "losses", "metrics", "models"]
