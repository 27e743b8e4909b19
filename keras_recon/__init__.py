"""Image reconstruction in Keras 3, on TensorFlow, JAX or PyTorch."""

from keras_recon import degradations, layers, losses, metrics, models

__version__ = "0.1.0"
__all__ = ["degradations", "layers", "losses", "metrics", "models"]
