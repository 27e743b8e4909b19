"""Fine-tuning: the strategies for pretrained backbones, and low-rank updates of kernels (LoRA)."""

import math

import keras

from keras_recon.features.backbones import backbone_parts, deserialize_backbone
from keras_recon.models.layer_state import freeze, frozen_paths, layers_by_path, old_paths
from keras_recon.optimizers import LayerwiseAdamW, without_loss_scaling


class GradualUnfreezing(keras.callbacks.Callback):
    """Unfreezes a pretrained backbone from its last block to its first, one block every `epochs_per_block` epochs.

    From "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder, 2018). The model must be
    compiled with `keras_recon.optimizers.LayerwiseAdamW`. The gradients of frozen blocks are computed nevertheless. A
    model with the strategy `gradual` adds this callback itself.

    Args:
        epochs_per_block: number of epochs between two blocks.
        num_layers: number of blocks of the backbone. The layers before them are unfrozen last.

    Example:
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3), keras.layers.Dense(3)])
    >>> depths = {v.path: depth for depth, layer in enumerate(model.layers, start=1) for v in layer.variables}
    >>> optimizer = keras_recon.optimizers.LayerwiseAdamW(depths=depths)
    >>> optimizer.build(model.trainable_variables)
    >>> model.compile(optimizer, "mse")
    >>> unfreezing = keras_recon.callbacks.GradualUnfreezing(epochs_per_block=1, num_layers=2)
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, epochs=2, verbose=0, callbacks=[unfreezing])
    >>> int(optimizer.frozen_below.numpy())  # the second epoch trained the last block
    2
    """

    def __init__(self, epochs_per_block: int, num_layers: int):
        super().__init__()
        self.epochs_per_block = epochs_per_block
        self.num_layers = num_layers

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = without_loss_scaling(self.model.optimizer)
        if not isinstance(optimizer, LayerwiseAdamW):
            raise ValueError(
                "`GradualUnfreezing` needs a model compiled with keras_recon.optimizers.LayerwiseAdamW. "
                f"Received: optimizer={type(optimizer).__name__}"
            )
        if not optimizer.built:  # Keras would build it in the first step
            self.model.optimizer.build(self.model.trainable_variables)
        optimizer.frozen_below.assign(max(0, self.num_layers + 1 - epoch // self.epochs_per_block))


# name: (meaning of its number, default), or None for a strategy without a number
STRATEGIES = {
    "frozen": None,
    "full": None,
    "last": ("blocks", 4),
    "gradual": ("epochs per block", 1),
    "llrd": ("decay per block", 0.75),
    "lora": ("rank", 8),
    "bitfit": None,
    "layernorm": None,
}


def parse_strategy(strategy: str) -> tuple[str, float | None]:
    """Split a strategy such as `"full"`, `"last:2"` or `"llrd:0.8"` into its name and number."""
    name, colon, text = strategy.partition(":")
    meaning = STRATEGIES.get(name)
    try:
        number = float(text) if colon else meaning and meaning[1]
        if name not in STRATEGIES or (colon and not meaning) or (meaning and number <= 0):
            raise ValueError
        if meaning and ((name == "llrd" and number > 1) or (name != "llrd" and number != int(number))):
            raise ValueError
    except ValueError:
        forms = [key if not m else f"{key}:{m[1]} ({m[0]})" for key, m in STRATEGIES.items()]
        raise ValueError(f"`strategy` must be one of {', '.join(forms)}. Received: strategy={strategy!r}") from None
    return name, number


def copy_backbone(backbone: keras.Model) -> keras.Model:
    """Copy a backbone with its weights and frozen layers."""
    copy = deserialize_backbone(keras.saving.serialize_keras_object(backbone))
    copy.set_weights(backbone.get_weights())
    freeze(copy, frozen_paths(backbone))
    return copy


def apply_strategy(backbone: keras.Model, strategy: str, depth: int):
    """Set which variables of a backbone are trained.

    Layers that are not `trainable` stay frozen under every strategy.

    - `frozen`: no variables.
    - `full`: all variables.
    - `gradual:E`: all variables in the end. `keras_recon.callbacks.GradualUnfreezing`, which `fit` adds, unfreezes one
      more block every E epochs, from the last to the first.
    - `llrd:D`: all variables. `keras_recon.optimizers.LayerwiseAdamW` multiplies the learning rate of each block by D
      relative to the block after it.
    - `last:N`: the last N blocks.
    - `lora:R`: low-rank updates of the kernels of the attention's queries and values ("LoRA", Hu et al., 2022).
    - `bitfit`: the biases ("BitFit", Ben Zaken et al., 2022).
    - `layernorm`: the layer normalisations.

    Args:
        backbone: a keras-hub image backbone.
        strategy: one of the above.
        depth: number of blocks that the model runs. Only these and the layers before them are trained.
    """
    name, number = parse_strategy(strategy)
    stem, blocks = backbone_parts(backbone)
    frozen = {id(v) for layer in layers_by_path(backbone).values() if not layer.trainable for v in own_variables(layer)}
    if name == "lora":
        backbone.enable_lora(int(number))
    layers = {"last": blocks[:depth][-int(number or 1) :], "frozen": []}.get(name, [*stem, *blocks[:depth]])
    names = {
        "lora": ("lora_kernel_a", "lora_kernel_b"),
        "bitfit": ("bias", "beta"),
        "layernorm": ("gamma", "beta"),
    }
    # DINOv2 resizes its positions from a table, and uses the mask token in pretraining only: no gradient reaches them.
    never = ("position_embeddings", "position_ids", "mask_token")
    trained = {
        id(variable)
        for layer in layers
        for variable in layer.weights
        if variable.name in names.get(name, (variable.name,)) and variable.name not in never
    }
    # On the variables and not on the layers, whose `trainable` would be saved in the config of the backbone.
    for variable in backbone.weights:
        variable.trainable = id(variable) in trained - frozen


def own_variables(layer: keras.layers.Layer) -> list:
    """Return the variables of a layer without those of the layers inside."""
    inner = {id(v) for inside in [*layers_by_path(layer).values()][1:] for v in inside.variables}
    return [v for v in layer.variables if id(v) not in inner]


def report(strategy: str, parts: dict[str, list[keras.layers.Layer]]) -> str:
    """Format a table of the parts of a model with their parameters and trained parameters."""
    lines = [f"strategy {strategy}", f"{'part':22}{'parameters':>14}{'trained':>14}"]
    totals = [0, 0]
    for name, layers in parts.items():
        variables = [v for layer in layers for v in layer.weights]
        counts = [sum(math.prod(v.shape) for v in variables if v.trainable or not only) for only in (False, True)]
        totals = [total + count for total, count in zip(totals, counts)]
        lines.append(f"{name:22}{counts[0]:14,}{counts[1]:14,}")
    return "\n".join([*lines, f"{'total':22}{totals[0]:14,}{totals[1]:14,}"])


def variable_depths(backbone: keras.Model, depth: int) -> dict[str, int]:
    """Return the depths of the variables up to block `depth`, by path: 0 before the blocks, 1 for the first block."""
    stem, blocks = backbone_parts(backbone)
    groups = [[v for layer in stem for v in layer.variables], *(block.variables for block in blocks[:depth])]
    return {variable.path: depth for depth, variables in enumerate(groups) for variable in variables}


def optimizer_for(strategy: str, optimizer, depths: dict[str, int]) -> keras.optimizers.Optimizer:
    """Return the optimizer for a strategy.

    A `LayerwiseAdamW` without depths gets those of the backbone, and without a decay the one of `llrd`.

    Args:
        strategy: see `apply_strategy`.
        optimizer: an optimizer, or its name or config.
        depths: see `variable_depths`.

    Raises:
        ValueError: the strategy needs a `LayerwiseAdamW`, and the optimizer is of another class.
    """
    name, number = parse_strategy(strategy)
    optimizer = keras.optimizers.get(optimizer)
    inner = without_loss_scaling(optimizer)
    if isinstance(inner, LayerwiseAdamW):
        inner.depths = inner.depths or depths
        inner.decay = number if name == "llrd" and inner.decay == 1.0 else inner.decay
    elif name in ("llrd", "gradual"):
        raise ValueError(
            f"`optimizer` must be a keras_recon.optimizers.LayerwiseAdamW, as strategy={strategy!r} has learning rates "
            f"by depth. Received: optimizer={type(inner).__name__}"
        )
    return optimizer


def callbacks_for(strategy: str, callbacks, num_layers: int):
    """Return the callbacks, with a `GradualUnfreezing` of `num_layers` blocks if the strategy is `gradual`."""
    name, number = parse_strategy(strategy)
    if name != "gradual":
        return callbacks
    callbacks = keras.tree.flatten(callbacks or [])
    has_one = any(isinstance(callback, GradualUnfreezing) for callback in callbacks)
    return callbacks if has_one else [*callbacks, GradualUnfreezing(int(number), num_layers)]


def lora_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return the layers with LoRA by path."""
    return {path: layer for path, layer in layers_by_path(model).items() if getattr(layer, "lora_enabled", False)}


def lora_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Return the kernel of a layer with LoRA and both factors of its update."""
    # `layer.kernel` is the sum of the kernel and its update. The kernel alone has no public name.
    return {"kernel": layer._kernel, "lora_kernel_a": layer.lora_kernel_a, "lora_kernel_b": layer.lora_kernel_b}


def check_lora(model: keras.Model, rank: int):
    """Raise a ValueError for a model that has low-rank updates or quantised kernels."""
    if lora_layers(model) or model.get_config().get("quantized"):
        state = "a model with LoRA" if lora_layers(model) else "a quantised model"
        raise ValueError(
            f"`enable_lora` can be called once, on a model that is not quantised. Received: rank={rank}, {state}"
        )


def enable_lora(model: keras.Model, rank: int):
    """Train only low-rank updates of a model's kernels, see `keras_recon.models.ImageModel.enable_lora`."""
    layers = [layer for part in model.lora_parts() for layer in layers_by_path(part).values()]
    if not layers:
        raise ValueError(f"`enable_lora` needs a model with an encoder. Received: a {type(model).__name__}")
    check_lora(model, rank)
    attention = [layer for layer in layers if layer.name == "qkv"]
    for layer in layers_by_path(model).values():
        layer.trainable = layer is model
    for layer in attention or [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]:
        layer.trainable = True
        layer.enable_lora(rank)
    for variable in model.trainable_variables:
        variable.trainable = variable.name.startswith("lora_kernel")
    model.lora_rank = rank
    track_lora(model, model)


def track_lora(model: keras.Model, inner: keras.Model):
    """Save the low-rank updates of `inner`, the model or a part of it, with the model."""
    built = model._tracker.locked
    model._tracker.unlock()  # a built model accepts no new layers, and Keras has no public way around that
    model.lora_state = LoRAState(inner, name="lora_state")
    if built:
        model._tracker.lock()


def merge_lora(model: keras.Model, **changes) -> keras.Model:
    """Return a copy whose kernels include their updates, or the model itself if it has none.

    Args:
        model: a `keras_recon.models.ImageModel`.
        **changes: arguments of the copy's constructor.
    """
    layers = lora_layers(model).values()
    if not layers:
        return model
    config = {key: value for key, value in model.get_config().items() if key not in ("lora_rank", "frozen")}
    updates, merged = set(), {}
    for kernel, a, b in (lora_variables(layer).values() for layer in layers):
        updates |= {id(a), id(b)}
        values = [keras.ops.convert_to_numpy(variable).astype("float32") for variable in (kernel, a, b)]
        merged[id(kernel)] = values[0] + values[1] @ values[2]  # Keras's alpha is the rank, which cancels it
    weights = [v for v in model.weights if id(v) not in updates]
    copy = type(model).from_config({**config, **changes})
    copy.set_weights([merged[id(v)] if id(v) in merged else keras.ops.convert_to_numpy(v) for v in weights])
    return copy


class LoRAState(keras.layers.Layer):
    """Saves the kernels and the low-rank updates of a model separately, so that training can go on.

    Keras saves kernels with their updates merged, and loads the updates as zeros, which get no gradient. It loads
    attributes in the order of their names, so this layer must come after the layers with LoRA.
    """

    def __init__(self, model: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.model = lambda: model  # a function, because an attribute would be tracked twice
        self.built = True

    def save_own_variables(self, store):
        for key, variable in self._variables_by_key().items():
            store[key] = variable

    def load_own_variables(self, store):
        variables = self._variables_by_key()
        if "0" in store.keys():  # noqa: SIM118  saved by version 0.1.0, by position
            layers = lora_layers(self.model())
            old = [layers[path] for path in old_paths(self.model()) if path in layers]
            variables = {str(i): v for i, v in enumerate(v for layer in old for v in lora_variables(layer).values())}
        for key, variable in variables.items():
            variable.assign(store[key])

    def _variables_by_key(self):
        return {
            f"{path.replace('/', '.')}.{name}": variable
            for path, layer in lora_layers(self.model()).items()
            for name, variable in lora_variables(layer).items()
        }
