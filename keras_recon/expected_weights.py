"""Shapes of the weights that a config asks for, computed without building anything.

`keras_recon.load_model` compares them with a file before Keras builds the model, so that a config cannot ask for more
layers or wider ones than the file holds. Small weights, such as biases and normalisations, are left out: they are never
larger than the kernels beside them.
"""

import inspect
import json
import math
from collections import Counter
from collections.abc import Iterator

import keras

from keras_recon.features.backbones import patch_side, quarter_depths

# Keras-hub backbones whose weights are known here. Their blocks have four square kernels and an MLP.
BACKBONES = (
    "ViTBackbone",
    "DeiTBackbone",
    "DINOV2Backbone",
    "DINOV3Backbone",
    "CLIPVisionEncoder",
    "SigLIPVisionEncoder",
)


def check_expected(config: dict, shapes: dict[str, tuple]):
    """Raise a ValueError if a file lacks a weight that the config asks for.

    Weights are compared by their number of values, because their paths depend on the backend.

    Args:
        config: serialised model.
        shapes: shapes of the weights in the file by their path.
    """
    held = Counter(math.prod(shape) for path, shape in shapes.items() if not path.startswith("optimizer/"))
    packed = "int4" in json.dumps(config)  # two values of the last axis are one byte
    asked = Counter()
    for shape in expected_shapes(config):
        alternatives = shape if isinstance(shape, list) else [shape]
        sizes = [math.prod(of_one) for of_one in alternatives]
        sizes += [math.prod(of_one[:-1]) * -(-of_one[-1] // 2) for of_one in alternatives] * packed
        asked[*sizes] += 1
        if asked[*sizes] > sum(held[size] for size in {*sizes}):
            raise ValueError(
                f"its configuration asks for a weight of the shape {alternatives[0]}, which the file does not hold"
            )


def expected_shapes(config: dict, *context) -> Iterator[tuple[int, ...] | list[tuple[int, ...]]]:
    """Yield the shapes of the larger weights of a serialised object one by one, or lists of alternatives.

    A ValueError names a class of this package that must not be in a file at this place. Classes that the user
    registered are trusted: nothing is yielded for them.

    Args:
        config: as `keras.saving.serialize_keras_object` returns it.
        *context: what the enclosing object knows: `latent_dim` for a decoder, (rows, columns, features) for a method of
            a detector, the rank of LoRA for a backbone.
    """
    name = str(config["registered_name"])
    function = _SHAPES.get(config["class_name"])
    if name.startswith(("keras_recon>", "keras_hub>")) and function is None:
        raise ValueError(f"it has a {config['class_name']}, which is not loaded from files at this place")
    if function:
        parameters = inspect.signature(keras.saving.get_registered_object(name).__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        yield from function(defaults | config["config"], *context)


def _transformer(c, prefix, inputs, positions=None):
    width, hidden = c[f"{prefix}hidden_dim"], c[f"{prefix}mlp_dim"]
    yield inputs, width
    if positions and c["position_embedding"] == "learned":
        yield *positions, width
    for _ in range(c[f"{prefix}num_layers"]):
        yield from ((width, 3 * width), (width, width), (width, hidden), (hidden, width))
        if c.get("lora_rank"):
            yield from ((width, c["lora_rank"]), (c["lora_rank"], 3 * width))


def _conv_blocks(c, filters, num_blocks):
    for width in filters:
        for _ in range(2 * num_blocks):
            yield 3, 3, width, width
            if c.get("lora_rank"):
                yield from ((9 * width, c["lora_rank"]), (c["lora_rank"], width))


def _conv_encoder(c, filters, num_blocks, inputs):
    yield from ((3, 3, before, width) for before, width in zip((inputs, *filters), filters))
    yield from _conv_blocks(c, filters, num_blocks)


def _conv_decoder(c, filters, num_blocks, inputs):
    yield 3, 3, inputs, filters[-1]
    yield from _conv_blocks(c, filters, num_blocks)


def _bottleneck(c, features, patch_size, channels):
    """The latent head, the linear path and the refiner of a `Reconstructor`."""
    values, latent_dim = patch_size**2 * channels, c["latent_dim"]
    if features:
        yield features, latent_dim
    if c["linear_path"]:
        yield from ((values, latent_dim), (latent_dim, values))
    width = c.get("refiner_filters")
    if width is None:
        width = 32 if c["linear_path"] == "lapped" and not c.get("mask_ratio") else 0
    if width:
        yield from [(3, 3, width, width)] * 4


def _decoder(c, patch_size, channels, positions=None):
    """The decoder of a ViT, by name or as a layer."""
    kind, latent_dim, values = c["decoder"], c["latent_dim"], patch_size**2 * channels
    if isinstance(kind, dict):
        yield from expected_shapes(kind, latent_dim)
    elif kind == "transformer":
        yield from _transformer({"position_embedding": "learned", **c}, "decoder_", latent_dim, positions)
        yield c["decoder_hidden_dim"], values
    elif kind == "linear":
        yield latent_dim, values
    else:
        filters = [c["decoder_hidden_dim"] // 2**i for i in reversed(range(patch_size.bit_length() - 1))]
        yield from _conv_decoder({}, filters, c["decoder_num_layers"], latent_dim)


def _vit(c):
    (height, width, channels), side = c["image_shape"], c["patch_size"]
    grid = (height // side, width // side)
    yield from _transformer(c, "", side**2 * channels, grid)
    yield from _bottleneck(c, c["hidden_dim"], side, channels)
    yield from _decoder(c, side, channels, grid)


def _autoencoder(c):
    channels, filters = c["image_shape"][2], c["filters"]
    yield from _conv_encoder(c, filters, c["num_blocks"], channels)
    yield from _bottleneck(c, filters[-1], 2 ** len(filters), channels)
    yield from _conv_decoder(c, filters, c["num_blocks"], c["latent_dim"])


def _linear(c):
    yield from _bottleneck({**c, "linear_path": True}, 0, c["patch_size"], c["image_shape"][2])


def _unet(c):
    yield from _conv_encoder(c, c["filters"], c["num_blocks"], c["image_shape"][2])
    yield from _conv_decoder(c, c["filters"], c["num_blocks"], c["filters"][-1])


def _pretrained(c):
    _, _, channels, side, width, depth = _backbone_sizes(c["backbone"])
    name, _, rank = c["strategy"].partition(":")
    yield from expected_shapes(c["backbone"], int(rank or 8) if name == "lora" else 0)
    stem = c["stem_filters"]
    yield from _conv_encoder({}, stem, 1, channels)
    count = len(c["feature_layers"] or quarter_depths(depth))
    yield from _bottleneck(c, width * count + sum(stem[-1:]), side, channels)
    yield from _decoder(c, side, channels)


def _backbone_sizes(serialised):
    """Height, width and channels of the images, side of the patches, width and depth of a keras-hub backbone."""
    c = serialised["config"]
    return *c["image_shape"], patch_side(c["patch_size"]), c["hidden_dim"], c["num_layers"]


def _backbone(c, lora_rank=0):
    width, hidden = c["hidden_dim"], c.get("mlp_dim") or c["intermediate_dim"]
    side = patch_side(c["patch_size"])
    yield side, side, c["image_shape"][2], width
    if "rope_theta" not in c:  # DINOv3 computes its positions
        for height, columns, *_ in [c["image_shape"], *filter(None, [c.get("position_embedding_shape")])]:
            tokens = (height // side) * (columns // side)
            yield [(tokens + prefix, width) for prefix in (0, 1, 2)]  # a class token and the like have positions too
    for _ in range(c["num_layers"]):
        yield from [(width, width)] * 4
        if c.get("use_swiglu_ffn"):
            inner = (int(hidden * 2 / 3) + 7) // 8 * 8
            yield from ((width, 2 * inner), (inner, width))
        else:
            yield from [(width, hidden)] * (3 if c.get("use_gated_mlp") else 2)
        if lora_rank:
            yield from [[(c["num_heads"], width, lora_rank), (width, lora_rank)]] * 2  # of the queries and the values


def _codec(c):
    filters, latent_dim, narrow = c["filters"], sum(c["slices"]), c["hyper_filters"]
    planes = c["num_knots"]
    yield from _conv_encoder(c, filters, c["num_blocks"][0], 3 + planes)
    yield filters[-1], latent_dim
    yield latent_dim, 8 * 8 * 3
    yield from _conv_decoder(c, filters, c["num_blocks"][1], latent_dim + planes)
    yield from ((3, 3, latent_dim, 2 * narrow), (3, 3, 2 * narrow, c["hyper_dim"]), (3, 3, narrow, 4 * narrow))
    yield from ((1, 1, 64, 2 * size) for size in c["slices"])


def _detector(c):
    extractor = c["preset"]["config"]
    height, width, _, side, features, _ = _backbone_sizes(extractor["backbone"])
    yield from expected_shapes(extractor["backbone"])
    yield from expected_shapes(c["method"], (height // side, width // side, features * len(extractor["depths"])))


def _ensemble(c, grid):
    for method in c["methods"]:
        yield from expected_shapes(method, grid)


_SHAPES = {
    "ViTReconstructor": _vit,
    "ConvAutoencoder": _autoencoder,
    "LinearReconstructor": _linear,
    "RestorationUNet": _unet,
    "PretrainedViTReconstructor": _pretrained,
    "ImageCodec": _codec,
    "AnomalyDetector": _detector,
    **dict.fromkeys(BACKBONES, _backbone),
    "LinearDecoder": lambda c, latent_dim: iter([(latent_dim, c["patch_size"] ** 2 * c["channels"])]),
    "TransformerDecoder": lambda c, latent_dim: _transformer(c, "", latent_dim),
    "ConvDecoder": lambda c, latent_dim: _conv_decoder({}, c["filters"], c["num_blocks"], latent_dim),
    "NearestPatch": lambda c, grid: iter([(c["patches"], grid[-1])]),
    "PatchGaussian": lambda c, grid: iter([(grid[-1], grid[-1])]),
    "PositionGaussian": lambda c, grid: iter([(*grid, grid[-1])]),
    "DefectClassifier": lambda c, grid: iter([(grid[-1], c["hidden_dim"]), (c["hidden_dim"], c["hidden_dim"])]),
    "Ensemble": _ensemble,
}
