"""XLA where Keras does not use it on its own: with TensorFlow on a CPU."""

from functools import lru_cache

import keras


def faster_by_xla(model: keras.Model) -> bool:
    """Whether TensorFlow should compile many calls of a reconstructor by XLA: transformers in float32.

    A CPU's bfloat16 products, and its convolutions, are faster without.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return on_tensorflow and model.compute_dtype == "float32" and not model.fully_convolutional


def by_xla(model: keras.Model) -> keras.Model:
    """A model of the same weights whose `predict_on_batch` is compiled by XLA, in seconds for each size of batches."""
    return _by_xla(model, tuple((variable.path, variable.dtype) for variable in model.variables))


@lru_cache(maxsize=1)  # no attribute of the model, which Keras would save with it
def _by_xla(model, variables):  # others after LoRA or a quantisation: then it is compiled anew
    compiled = InferenceOnly(model)
    compiled.jit_compile = True
    return compiled


class InferenceOnly(keras.Model):
    """What a model answers outside of training."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model
        self.built = True

    def call(self, images):
        return self.model(images, training=False)
