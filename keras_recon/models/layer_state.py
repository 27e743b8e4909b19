"""Which layers of a model are frozen, quantised or have low-rank updates, by their attribute paths.

A path such as "encoder/blocks/0/mlp_in" consists of attribute names and positions in lists. It stays the same when a
later version inserts a layer elsewhere. Versions up to 0.1.0 saved positions in a flat list of all layers;
`old_paths` translates these.
"""

from collections.abc import Iterator

import keras


def layers_by_path(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Find every layer inside a model.

    Args:
        model: a built model or layer.

    Returns:
        The layers by path, each once and after the layers that contain it. The model itself has the path "".

    Example:
    >>> from keras_recon.models.layer_state import layers_by_path
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> type(layers_by_path(model)["encoder/blocks/0/mlp_in"]).__name__
    'Dense'
    """
    found, seen = {}, set()

    def visit(path, layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            found[path] = layer
            for name, child in _children(layer).items():
                if not isinstance(child, keras.layers.InputLayer):
                    visit(f"{path}/{name}".removeprefix("/"), child)

    visit("", model)
    return found


def _children(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers that are attributes of a layer, or in lists, tuples and dictionaries of it, by path."""
    attributes = {}
    if not isinstance(layer, keras.Sequential):  # which has a functional model with the same layers
        attributes |= vars(layer)
        if keras.backend.backend() == "torch":  # which keeps modules apart from other attributes
            attributes |= dict(layer.named_children())
    if isinstance(layer, keras.Model):  # functional and sequential models have layers that are no attributes
        attributes["layers"] = layer.layers
    # Private lists and dictionaries are how Keras and the backends count the same layers. A private attribute that is a
    # layer, such as those of keras.layers.MultiHeadAttention, is the only reference to it.
    return {
        path.lstrip("_"): child
        for name, value in attributes.items()
        if isinstance(value, keras.layers.Layer) or not name.startswith("_")
        for path, child in _flat(name, value)
    }


def _flat(path: str, value) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield path, value
    elif isinstance(value, (list, tuple, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(f"{path}/{key}", item)


def frozen_paths(model: keras.Model) -> list[str]:
    """Paths of the layers that are not `trainable`."""
    return [path for path, layer in layers_by_path(model).items() if not layer.trainable]


def freeze(model: keras.Model, paths: list[str] | list[int]):
    """Make exactly these layers not `trainable`."""
    paths, layers = set(current_paths(model, paths)), layers_by_path(model)
    for path, layer in layers.items():  # containers first, because setting `trainable` also sets the layers inside
        if layer.trainable != (path not in paths):
            layer.trainable = path not in paths


def quantized_paths(model: keras.Model) -> dict[str, list[str]]:
    """Paths of the quantised layers by mode."""
    modes = {path: layer.dtype_policy.quantization_mode for path, layer in layers_by_path(model).items()}
    return {mode: [path for path, of_layer in modes.items() if of_layer == mode] for mode in {*modes.values()} - {None}}


def quantize(model: keras.Model, mode: str, paths: list[str] | list[int]):
    """Quantise the layers at these paths, unless they are quantised already, as those of a backbone are."""
    layers = layers_by_path(model)
    chosen = [layers[path] for path in current_paths(model, paths)]
    chosen = {id(layer) for layer in chosen if not layer.dtype_policy.quantization_mode}
    if chosen:
        model.quantize(mode, filters=lambda layer: id(layer) in chosen)


def current_paths(model: keras.Model, paths: list[str] | list[int]) -> list[str]:
    """Return paths that exist in the model, from paths or from positions of version 0.1.0."""
    if paths and isinstance(paths[0], int):
        old = old_paths(model)
        if not all(0 <= position < len(old) for position in paths):
            raise ValueError(f"Positions of layers must be below {len(old)}. Received: {paths}")
        return [old[position] for position in paths if old[position] is not None]
    known = layers_by_path(model)
    missing = [path for path in paths if path not in known]
    if missing:
        raise ValueError(f"A {type(model).__name__} has no layers {missing[:9]}")
    return paths


# The order in which version 0.1.0 counted the layers in a layer, frozen: attributes by class, for each library.
# "input" stands for the input layer that only Keras knows. Do not change entries: old files refer to them.
_RECONSTRUCTOR = "linear refiner"
_NETWORK = "embedding positions blocks norm"
_PYRAMID = "embedding upsamples levels norm"
_DINO = "norm1 attention layer_scale1 drop_path norm2 mlp layer_scale2"
_ATTENTION = "query_dense key_dense value_dense softmax dropout_layer output_dense"
ORDER = {
    "keras": {
        "Sequential": "input layers",
        "Functional": "layers",
        "MultiHeadAttention": _ATTENTION,
    },
    "keras_recon": {
        "LinearReconstructor": _RECONSTRUCTOR,
        "ViTReconstructor": f"{_RECONSTRUCTOR} mask_token encoder latent_head decoder lora_state",
        "ConvAutoencoder": f"{_RECONSTRUCTOR} encoder decoder latent_head log_variance_head lora_state",
        "RestorationUNet": "encoder decoder lora_state",
        "PretrainedViTReconstructor": (
            f"{_RECONSTRUCTOR} conv_stem backbone lora_state feature_norms latent_head decoder"
        ),
        "ImageCodec": "encoder latent_head entropy_model decoder lora_state",
        "EntropyModel": "analysis synthesis hidden heads",
        "AnomalyDetector": "extractor method",
        "BackboneFeatures": "backbone",
        "DefectClassifier": "network",
        "FeatureDecoder": "network",
        "Ensemble": "methods",
        "Transformer": _NETWORK,
        "TransformerDecoder": f"{_NETWORK} head",
        "TransformerBlock": "attention_norm attention mlp_norm mlp_in dropout drop_path mlp_out",
        "MultiHeadSelfAttention": "dropout qkv projection",
        "LinearDecoder": "pixel_head",
        "PixelRefiner": "embedding blocks head",
        "ResidualBlock": "dropout norms convs",
        "Upsample": "conv",
        "ConvEncoder": "levels norm",
        "ConvDecoder": _PYRAMID,
        "PatchDiscriminator": "convolutions normalizations head",
    },
    "keras_hub": {
        "ViTPatchingAndEmbedding": "patch_embedding position_embedding",
        "ViTEncoder": "encoder_layers dropout layer_norm",
        "ViTEncoderBlock": "layer_norm_1 mha dropout layer_norm_2 mlp",
        "MLP": "dense_1 dense_2 dropout",
        "DeiTEmbeddings": "patch_embedding dropout",
        "DeiTEncoder": "encoder_layers layer_norm",
        "DeiTEncoderBlock": "layer_norm_1 mha layer_norm_2 mlp output_layer",
        "DeiTIntermediate": "dense",
        "DeiTOutput": "dense dropout",
        "DINOV2Backbone": "embeddings encoder layernorm layers",
        "DINOV2Embedding": "patch_embeddings dropout",
        "DINOV2PatchEmbedding": "projection",
        "DINOV2Encoder": "layers",
        "DINOV2Layer": _DINO,
        "DINOV2Attention": "attention dropout",
        "DINOV2MLP": "fc1 fc2",
        "DINOV3Backbone": "embeddings rope_embedding encoder layernorm layers",
        "DINOV3Embedding": "patch_embeddings",
        "DINOV3PatchEmbedding": "projection",
        "DINOV3Encoder": "layers",
        "DINOV3Layer": _DINO,
        "DINOV3Attention": "query_dense key_dense value_dense output_dense dropout",
        "DINOV3MLP": "up_proj down_proj",
        "SigLIPVisionEncoder": "embedding encoder_layers post_layer_norm head layers",
        "SigLIPVisionEmbedding": "patch_embedding position_embedding",
        "SigLIPEncoderLayer": "self_attn layer_norm1 mlp layer_norm2",
        "SigLIPMLP": "fc1 fc2",
        "SigLIPMultiHeadAttentionPooling": "attention layer_norm mlp",
        "CLIPVisionEncoder": "embedding pre_layer_norm encoder_layers layer_norm layers",
        "CLIPVisionEmbedding": "patch_embedding position_embedding",
        "CLIPEncoderLayer": "layer_norm_1 attention layer_norm_2 dense_1 activation dense_2",
    },
}


def old_paths(model: keras.Model) -> list[str | None]:
    """The paths of a model's layers in the order of version 0.1.0; None for input layers and the state of LoRA."""
    paths = {id(layer): path for path, layer in layers_by_path(model).items()}
    order, seen = [], set()

    def visit(layer, step):
        if id(layer) in seen:
            return
        seen.add(id(layer) if layer else None)
        order.append(paths.get(id(layer)))
        for child in _old_children(layer)[::step]:
            visit(child, step=-1)  # Keras counted the layers inside others backwards

    visit(model, step=1)
    return order


def _old_children(layer: keras.layers.Layer | None) -> list[keras.layers.Layer | None]:
    """The layers in a layer as version 0.1.0 counted them, None for an input layer."""
    for cls in type(layer).__mro__:
        names = ORDER.get(cls.__module__.partition(".")[0], {}).get(cls.__name__)
        if names is not None:
            names = names.split()
            if keras.backend.backend() == "torch":  # where functional models counted their input layer first
                names.sort(key=lambda name: name not in ("input", "layers"))
            paths = _children(layer)
            found = [paths[path] for name in names for path in paths if path == name or path.startswith(f"{name}/")]
            children = [*([None] if "input" in names else []), *{id(child): child for child in found}.values()]
            break
    else:
        children = []
    if cls is not type(layer) and layer:  # a class of a user: what it adds, in the order of its attributes
        known = {id(child) for child in children}
        children += [child for child in _children(layer).values() if id(child) not in known]
    return children
