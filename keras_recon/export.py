from pathlib import Path

import keras

from keras_recon.files import replacing
from keras_recon.models import Reconstructor


def export_savedmodel(model: Reconstructor, path: str | Path):
    """Write a TensorFlow SavedModel whose `serve` maps images (batch, *image_shape) in [0, 1] to reconstructions.

    Any batch size; it runs without keras_recon. Works from the TensorFlow and JAX backends.
    """
    if keras.backend.backend() == "torch":
        raise RuntimeError(
            "A SavedModel cannot be exported from the torch backend; save a .keras file, then load and export it under "
            "KERAS_BACKEND=tensorflow"
        )
    with replacing(path) as temporary:
        signature = [keras.InputSpec(shape=(None, *model.image_shape), dtype="float32")]
        model.merged().export(str(temporary), verbose=False, input_signature=signature)


def save_model(model: Reconstructor, path: str | Path):
    """Write the model for use, without its optimizer: `load_model` then needs no loss or metric."""
    model = model.merged()
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.save(path)
