"""Image reconstruction in Keras 3, on TensorFlow, JAX or PyTorch."""

import importlib

# All classes are registered here, for `keras.saving.load_model`.
from keras_recon import (
    anomaly,
    callbacks,
    compression,
    data,
    degradations,
    features,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    presets,
)
from keras_recon.export import export_model
from keras_recon.inference import reconstruct
from keras_recon.saving import load_model
from keras_recon.version import __version__

__all__ = [
    "AdversarialTraining",
    "TrainingOptions",
    "__version__",
    "anomaly",
    "callbacks",
    "compression",
    "data",
    "degradations",
    "export_model",
    "features",
    "finish_run",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "presets",
    "reconstruct",
    "train",
]
# What needs TensorFlow is imported when it is used.
_LAZY = {
    "AdversarialTraining": "keras_recon.training.adversarial",
    "TrainingOptions": "keras_recon.training.options",
    "finish_run": "keras_recon.training.finish",
    "train": "keras_recon.training.train",
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'keras_recon' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
