"""What of a model is trained, beyond its configuration: frozen layers, and low-rank updates of kernels."""

import keras
import numpy as np


def frozen_layers(model: keras.Model) -> list[int]:
    """Indices, among all layers of a model, of those that are not `trainable`."""
    return [i for i, layer in enumerate(model._flatten_layers()) if not layer.trainable]


def freeze_layers(model: keras.Model, indices: list[int]):
    """Make exactly these layers not `trainable`."""
    for i, layer in enumerate(model._flatten_layers()):  # a layer comes before what it contains and sets
        if layer.trainable != (i not in indices):
            layer.trainable = i not in indices


def lora_variables(model: keras.Model) -> list[tuple]:
    """(kernel, a, b) of each layer with LoRA."""
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "lora_enabled", False)]
    return [(layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b) for layer in layers]


class LoRAState(keras.layers.Layer):
    """Saves the kernels and low-rank updates of a model apart.

    On its own, Keras saves the kernels with the updates merged, and loads the updates as zeros, which can never be
    trained again. It saves and loads attributes in the order of their names: this must come after the model's.
    """

    def __init__(self, model: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.model_variables = lambda: [v for group in lora_variables(model) for v in group]  # not tracked twice
        self.built = True

    def save_own_variables(self, store):
        for i, variable in enumerate(self.model_variables()):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.model_variables()):
            variable.assign(store[str(i)])


def own_weights(model: keras.Model) -> list:
    """A model's weights but those of an adversary, which copies do not have."""
    adversary = getattr(model, "adversary", None)
    others = {id(v) for v in adversary.weights} if adversary else ()
    return [v for v in model.weights if id(v) not in others]


def merged_weights(model: keras.Model) -> list[np.ndarray]:
    """A model's weights, of kernels with LoRA the sums with their updates; the rank and Keras's alpha cancel."""
    groups = lora_variables(model)
    updates = {id(v) for group in groups for v in group[1:]}
    merged = {}
    for group in groups:
        kernel, a, b = (keras.ops.convert_to_numpy(variable).astype("float32") for variable in group)
        merged[id(group[0])] = kernel + a @ b
    return [merged.get(id(v), keras.ops.convert_to_numpy(v)) for v in own_weights(model) if id(v) not in updates]


class PartlyTrained(keras.Model):
    """A model whose frozen layers and low-rank updates are in its configuration.

    Attributes:
        lora_rank: what `enable_lora` was called with; None for no updates.
    """

    lora_rank: int | None = None

    def enable_lora(self, rank: int):
        """Train nothing from here on but updates of low rank of the kernels ("LoRA", Hu et al., 2022).

        Of a transformer those of the attention's queries, keys and values, of a network without attention those of its
        convolutions; see the strategy `lora` for a pretrained backbone. Compile afterwards; `merged` adds them up.

        Args:
            rank: of each update, from 1.

        Example:

        >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
        >>> model.enable_lora(4)
        >>> sorted({v.name for v in model.trainable_variables})
        ['lora_kernel_a', 'lora_kernel_b']
        """
        if not hasattr(self, "encoder"):
            raise ValueError(f"`enable_lora` needs a model with an encoder. Received: a {type(self).__name__}")
        self.check_lora(rank)
        layers = [*self.encoder._flatten_layers(), *self.decoder._flatten_layers()]
        attention = [layer for layer in layers if layer.name == "qkv"]
        for layer in self._flatten_layers():
            layer.trainable = layer is self
        for layer in attention or [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]:
            layer.trainable = True
            layer.enable_lora(rank)
        for variable in self.trainable_variables:
            variable.trainable = variable.name.startswith("lora_kernel")
        self.lora_rank = rank
        self.track_lora(self)

    def check_lora(self, rank: int):
        """Refuse updates of kernels that have some, or are rounded."""
        if lora_variables(self) or self.get_config().get("quantized"):
            raise ValueError(
                f"`enable_lora` can be called once, on a model that is not quantised. Received: rank={rank}, "
                f"{'updates of LoRA' if lora_variables(self) else 'a quantised model'}"
            )

    def track_lora(self, model: keras.Model):
        """Save the updates of a model, this one or one in it, so that their training can go on."""
        built = self._tracker.locked
        self._tracker.unlock()  # as Keras does for the updates: a built model takes no more layers
        self.lora_state = LoRAState(model, name="lora_state")
        if built:
            self._tracker.lock()

    def merged(self) -> "PartlyTrained":
        """The model for use: a copy with the updates of LoRA added to the kernels; itself where there are none."""
        if not lora_variables(self):
            return self
        config = {k: v for k, v in self.get_config().items() if k not in ("lora_rank", "frozen")}
        merged = type(self).from_config({**config, **({"strategy": "frozen"} if "strategy" in config else {})})
        merged.set_weights(merged_weights(self))
        return merged
