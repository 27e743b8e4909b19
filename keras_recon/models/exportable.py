import warnings
from functools import lru_cache

import keras
import numpy as np

# The backends that can write a format of `keras.Model.export`; of others Keras itself says what they need.
BACKENDS = {"tf_saved_model": ("tensorflow", "jax"), "onnx": ("tensorflow",), "litert": ("tensorflow",)}


def can_export(format: str) -> bool:
    """Whether the backend can write a format."""
    backend = keras.backend.backend()
    return backend in BACKENDS.get(format, (backend,))


def check_backend(format: str):
    """Refuse a format that the backend cannot write."""
    if not can_export(format):
        raise RuntimeError(
            f"{format} cannot be exported from the {keras.backend.backend()} backend; save a .keras file, then load "
            "and export it under KERAS_BACKEND=tensorflow"
        )


@lru_cache
def teach_tf2onnx():
    """Tell tf2onnx of `Erfc`, of which TensorFlow makes the exact GELU; it knows only its complement."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, graph, node, **kwargs):
            one = graph.make_const(f"{node.name}_one", np.array(1, "float32"))
            negative = graph.make_node("Neg", node.input)
            erf = graph.make_node("Erf", negative.output)
            node.type = "Add"
            graph.replace_inputs(node, [one.output[0], erf.output[0]])


class Exportable(keras.Model):
    """A model whose `export` needs no call before, and no signature: its `image_shape` says what it takes."""

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As `keras.Model.export`: what `call` does, for any batch size.

        `keras_recon.export_model` also writes signatures for latents and whole photos, and checks what was written.

        Raises:
            RuntimeError: the backend cannot write the format, or not for images of any height and width.
        """
        check_backend(format)
        if keras.backend.backend() == "jax" and None in self.image_shape:
            raise RuntimeError(
                "A model of images of any height and width cannot be exported from the jax backend: export one of a "
                "size, as `model.for_image_shape((128, 128, 3))` is, or load its .keras file under "
                f"KERAS_BACKEND=tensorflow. Received: image_shape={self.image_shape}"
            )
        if format == "onnx":
            teach_tf2onnx()
        if input_signature is None:
            input_signature = [keras.InputSpec(shape=(None, *self.image_shape), dtype="float32", name="images")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Keras asks for np.object, for tf2onnx
            return super().export(filepath, format, verbose, input_signature, **kwargs)
