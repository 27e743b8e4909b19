"""What of a pretrained backbone is trained, and how."""

import math

import keras

from keras_recon.features.backbones import backbone_parts, deserialize_backbone
from keras_recon.models.image_model import freeze_layers, frozen_layers
from keras_recon.optimizers import LayerwiseAdamW, without_loss_scaling


class GradualUnfreezing(keras.callbacks.Callback):
    """Frees a pretrained backbone from its last block to its first, one more after every `epochs_per_block` epochs.

    From "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder, 2018). Needs a model compiled
    with `keras_recon.optimizers.LayerwiseAdamW`. The gradients of the frozen blocks are computed all the same. A model
    of the strategy `gradual` adds this callback itself.

    Args:
        epochs_per_block: epochs.
        num_layers: blocks of the backbone; what comes before them is freed last.

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
        if not optimizer.built:  # it is in the first step
            self.model.optimizer.build(self.model.trainable_variables)
        optimizer.frozen_below.assign(max(0, self.num_layers + 1 - epoch // self.epochs_per_block))


# name: (what its number says, its default); None for none.
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
    """Name and number of a strategy such as `"full"`, `"last:2"` or `"llrd:0.8"`."""
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
    """Another backbone of the same weights and frozen layers."""
    copy = deserialize_backbone(keras.saving.serialize_keras_object(backbone))
    copy.set_weights(backbone.get_weights())
    freeze_layers(copy, frozen_layers(backbone))
    return copy


def apply_strategy(backbone: keras.Model, strategy: str, depth: int):
    """Mark what of the backbone's first `depth` blocks, and of what comes before them, is trained.

    Layers that are not `trainable` stay so.

    - `frozen`: nothing.
    - `full`: everything.
    - `gradual:E`: everything in the end; `keras_recon.callbacks.GradualUnfreezing`, which `fit` adds, frees one more
      block, from the last to the first, after every E epochs.
    - `llrd:D`: everything; `keras_recon.optimizers.LayerwiseAdamW` slows each block down by the factor D against the
      one above it.
    - `last:N`: the last N blocks.
    - `lora:R`: low-rank updates of the kernels of the attention's queries and values ("LoRA", Hu et al., 2022).
    - `bitfit`: the biases ("BitFit", Ben Zaken et al., 2022).
    - `layernorm`: the layer normalisations.
    """
    name, number = parse_strategy(strategy)
    stem, blocks = backbone_parts(backbone)
    frozen = {id(v) for layer in backbone._flatten_layers() if not layer.trainable for v in own_variables(layer)}
    if name == "lora":
        backbone.enable_lora(int(number))
    layers = {"last": blocks[:depth][-int(number or 1) :], "frozen": []}.get(name, [*stem, *blocks[:depth]])
    names = {
        "lora": ("lora_kernel_a", "lora_kernel_b"),
        "bitfit": ("bias", "beta"),
        "layernorm": ("gamma", "beta"),
    }
    # Fitted, and what nothing reads: the table that DINOv2 resizes its positions from, the token of its pretraining.
    never = ("position_embeddings", "position_ids", "mask_token")
    trained = {
        id(variable)
        for layer in layers
        for variable in layer.weights
        if variable.name in names.get(name, (variable.name,)) and variable.name not in never
    }
    # Of the variables, not of the layers: a layer's flag would be saved in the backbone's configuration.
    for variable in backbone.weights:
        variable.trainable = id(variable) in trained - frozen


def own_variables(layer: keras.layers.Layer) -> list:
    """The variables that are a layer's own, not those of layers in it."""
    inner = {id(v) for inside in layer._flatten_layers(include_self=False) for v in inside.variables}
    return [v for v in layer.variables if id(v) not in inner]


def report(strategy: str, parts: dict[str, list[keras.layers.Layer]]) -> str:
    """A table of a model's parts: their parameters and how many of them are trained."""
    lines = [f"strategy {strategy}", f"{'part':22}{'parameters':>14}{'trained':>14}"]
    totals = [0, 0]
    for name, layers in parts.items():
        variables = [v for layer in layers for v in layer.weights]
        counts = [sum(math.prod(v.shape) for v in variables if v.trainable or not only) for only in (False, True)]
        totals = [total + count for total, count in zip(totals, counts)]
        lines.append(f"{name:22}{counts[0]:14,}{counts[1]:14,}")
    return "\n".join([*lines, f"{'total':22}{totals[0]:14,}{totals[1]:14,}"])


def variable_depths(backbone: keras.Model, depth: int) -> dict[str, int]:
    """Depth by path of the variables up to block `depth`: 0 before the blocks, then the index of the block, from 1."""
    stem, blocks = backbone_parts(backbone)
    groups = [[v for layer in stem for v in layer.variables], *(block.variables for block in blocks[:depth])]
    return {variable.path: depth for depth, variables in enumerate(groups) for variable in variables}


def optimizer_for(strategy: str, optimizer, depths: dict[str, int]) -> keras.optimizers.Optimizer:
    """The optimizer, able to do what a strategy says.

    A `LayerwiseAdamW` takes its depths and, under `llrd`, its decay from here where it was given none.

    Raises:
        ValueError: the strategy needs a `LayerwiseAdamW`, and this is another.
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
    """The callbacks of a training, and the one that `gradual` needs of `num_layers` blocks."""
    name, number = parse_strategy(strategy)
    if name != "gradual":
        return callbacks
    callbacks = keras.tree.flatten(callbacks or [])
    has_one = any(isinstance(callback, GradualUnfreezing) for callback in callbacks)
    return callbacks if has_one else [*callbacks, GradualUnfreezing(int(number), num_layers)]
