import itertools

import keras
import numpy as np
from keras import ops

from keras_recon import losses
from keras_recon.metrics import named

MAX_VALUE = 8  # noise may leave [0, 1], but not so far: these are pixels up to 255


class Checked(keras.Model):
    """A model that says what is wrong with its images, and knows the names of keras_recon's losses and metrics."""

    @property
    def multiple(self) -> int:
        """What divides a height or width that `image_shape` does not tell."""
        return self.patch_size

    def checked(self, images):
        """Images as float tensors, if they are such of the model's `image_shape`.

        Raises:
            ValueError: they are integers, or of another shape.
        """
        if not isinstance(images, keras.KerasTensor):  # of which this would be an operation of a functional model
            images = ops.convert_to_tensor(images)
        self._check(images)
        return ops.cast(images, "float32") if keras.backend.standardize_dtype(images.dtype) == "float64" else images

    def _check(self, images):
        """Refuse an array or tensor that is no batch of the model's images."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" not in dtype:
            raise ValueError(f"`images` must be float in [0, 1]: divide by 255. Received: dtype={dtype}")

        def fits(size, expected):
            return size is None or (size % self.multiple == 0 if expected is None else size == expected)

        if len(images.shape) != 4 or not all(map(fits, images.shape[1:], self.image_shape)):
            multiples = f", None a multiple of {self.multiple}" if None in self.image_shape else ""
            raise ValueError(
                f"`images` must have the shape (batch, {', '.join(map(str, self.image_shape))}){multiples}. "
                f"Received: shape={tuple(images.shape)}"
            )

    def compute_output_spec(self, images, *args, **kwargs):
        """Of an unknown size, for which Keras would try the call with sizes of its own."""
        if None not in self.image_shape:
            return super().compute_output_spec(images, *args, **kwargs)
        scaled = [side and side * self.upscale for side in images.shape[1:3]]
        return keras.KerasTensor((images.shape[0], *scaled, images.shape[3]), "float32")

    def __call__(self, images, *args, **kwargs):
        return super().__call__(self.checked(images), *args, **kwargs)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """As `keras.Model.compile`; strings may be those of `keras_recon.losses.get` and `metrics.get`."""
        known = metrics and keras.tree.map_structure(named, metrics)
        super().compile(optimizer, losses.get(loss), loss_weights, known, **kwargs)

    def summary(self, *args, **kwargs):
        """As `keras.Model.summary`; `expand_nested` shows what the encoder and the decoder consist of, too."""
        parts = [layer for layer in self._flatten_layers() if layer._layers and not hasattr(layer, "layers")]
        for layer in parts:  # Keras looks into what has `layers`; a lasting attribute would be a part of saved files
            object.__setattr__(layer, "layers", [*layer._layers])
        try:
            super().summary(*args, **kwargs)
        finally:
            for layer in parts:
                object.__delattr__(layer, "layers")

    def compile_from_config(self, config):
        """What Keras does for a loaded model, unless its `compile` is its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        return super().fit(self._checked_data(x), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        within_fit = "_use_cached_eval_dataset" in kwargs  # after every epoch
        return super().evaluate(x if within_fit else self._checked_data(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        return super().predict(self._checked_data(x), *args, **kwargs)

    def _checked_data(self, data):
        """The same data, of which an array, or the first batch, is looked at.

        Before Keras begins: on JAX, an error in a step would leave the model without its weights.
        """
        if data is None or hasattr(data, "shape"):
            batch = data
        elif isinstance(data, keras.utils.PyDataset):
            batch = data[0]
        else:
            batches = iter(data)
            batch = next(batches, None)
            if batches is data:  # a generator, which has nothing twice
                data = _chained([] if batch is None else [batch], batches)
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if hasattr(images, "shape"):
            self._check(images)
            check_range(ops.convert_to_numpy(images))
        return data


def _chained(*parts):
    """A generator, as Keras wants it, of what the parts have."""
    yield from itertools.chain(*parts)


def check_size(model: keras.Model):
    """Refuse a model of an unknown height or width, where tiles or crops take their size from it."""
    if None in model.image_shape:
        example = (128, 128, model.image_shape[2])
        raise ValueError(
            f"`model` must have a height and a width, as model.for_image_shape({example}) has. "
            f"Received: image_shape={model.image_shape}"
        )


def check_range(images: np.ndarray):
    """Refuse what looks like pixels from 0 to 255."""
    largest = float(max(images.max(initial=0), -images.min(initial=0)))  # without a copy of all of them
    if largest > MAX_VALUE:
        raise ValueError(f"Images must be in [0, 1]: divide by 255. Received: values up to {largest:g}")
