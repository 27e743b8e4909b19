"""What of a pretrained backbone is trained, and how."""

import keras
import numpy as np

from keras_recon.models.backbones import backbone_parts

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


def apply_strategy(backbone: keras.Model, strategy: str, depth: int):
    """Mark what of the backbone's first `depth` blocks, and of what comes before them, is trained.

    - `frozen`: nothing.
    - `full`: everything.
    - `gradual:E`: everything in the end; `keras_recon.callbacks.GradualUnfreezing` frees one more block, from the last
      to the first, after every E epochs.
    - `llrd:D`: everything; `keras_recon.optimizers.LayerwiseAdamW` slows each block down by the factor D against the
      one above it.
    - `last:N`: the last N blocks.
    - `lora:R`: low-rank updates of the kernels of the attention's queries and values ("LoRA", Hu et al., 2022).
    - `bitfit`: the biases ("BitFit", Ben Zaken et al., 2022).
    - `layernorm`: the layer normalisations.
    """
    name, number = parse_strategy(strategy)
    stem, blocks = backbone_parts(backbone)
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
        variable.trainable = id(variable) in trained


def variable_depths(backbone: keras.Model, depth: int) -> dict[str, int]:
    """Depth by path of the variables up to block `depth`: 0 before the blocks, then the index of the block, from 1."""
    stem, blocks = backbone_parts(backbone)
    groups = [[v for layer in stem for v in layer.variables], *(block.variables for block in blocks[:depth])]
    return {variable.path: depth for depth, variables in enumerate(groups) for variable in variables}


def lora_variables(backbone: keras.Model) -> list[tuple]:
    """(kernel, a, b) of each layer with LoRA."""
    by_path = {variable.path: variable for variable in backbone.variables}
    layers = [path.removesuffix("lora_kernel_a") for path in by_path if path.endswith("/lora_kernel_a")]
    return [tuple(by_path[layer + name] for name in ("kernel", "lora_kernel_a", "lora_kernel_b")) for layer in layers]


class LoRAState(keras.layers.Layer):
    """Saves the kernels and low-rank updates of a backbone apart.

    On its own, Keras saves the kernels with the updates merged, and loads the updates as zeros, which can never be
    trained again. It saves and loads attributes in the order of their names: this must come after the backbone's.
    """

    def __init__(self, backbone: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.backbone_variables = lambda: [v for group in lora_variables(backbone) for v in group]  # not tracked twice
        self.built = True

    def save_own_variables(self, store):
        for i, variable in enumerate(self.backbone_variables()):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.backbone_variables()):
            variable.assign(store[str(i)])


def merged_kernels(backbone: keras.Model) -> dict[str, np.ndarray]:
    """The kernels with LoRA, by path, with the updates added; the rank and Keras's default alpha cancel."""
    merged = {}
    for group in lora_variables(backbone):
        kernel, a, b = (keras.ops.convert_to_numpy(variable).astype("float32") for variable in group)
        merged[group[0].path] = kernel + a @ b
    return merged
