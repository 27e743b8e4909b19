"""Random keras-hub backbones, small enough for tests, and the same as a Hugging Face folder."""

import json

import keras_hub.models as hub
import numpy as np
from keras import ops

from keras_recon.models import PretrainedViTReconstructor

SIZES = {"patch_size": 4, "num_layers": 3, "num_heads": 2, "hidden_dim": 8}
DECODER = {"decoder_num_layers": 1, "decoder_num_heads": 2, "decoder_hidden_dim": 8, "decoder_mlp_dim": 12}


def tiny_backbone(family: str = "vit", image_shape=(16, 16, 3)):
    if family == "vit":
        return hub.ViTBackbone(image_shape=image_shape, **SIZES, mlp_dim=12)
    if family == "deit":
        return hub.DeiTBackbone(image_shape=image_shape, **{**SIZES, "patch_size": (4, 4)}, intermediate_dim=12)
    if family == "dinov2":
        more = {"num_register_tokens": 1, "position_embedding_shape": image_shape[:2]}
        return hub.DINOV2Backbone(image_shape=image_shape, **SIZES, intermediate_dim=12, **more)
    if family == "dinov3":
        return hub.DINOV3Backbone(image_shape=image_shape, **SIZES, intermediate_dim=12)
    encoder = {"siglip": hub.SigLIPVisionEncoder, "clip": hub.CLIPVisionEncoder}[family]
    return encoder(image_shape=image_shape, **SIZES, intermediate_dim=12)


def tiny(family="vit", image_shape=(16, 16, 3), **changes):
    """A reconstructor on one of them."""
    return PretrainedViTReconstructor(tiny_backbone(family, image_shape), **{"latent_dim": 5, **DECODER, **changes})


def save_as_hugging_face(backbone, folder):
    """Write a ViT backbone as `transformers.ViTModel.save_pretrained` lays it out."""
    from safetensors.numpy import save_file

    embedding, encoder = backbone.layers[1:]
    tensors = {
        "embeddings.cls_token": embedding.class_token,
        "embeddings.position_embeddings": ops.expand_dims(embedding.position_embedding.embeddings, 0),
        "embeddings.patch_embeddings.projection.weight": ops.transpose(embedding.patch_embedding.kernel, (3, 2, 0, 1)),
        "embeddings.patch_embeddings.projection.bias": embedding.patch_embedding.bias,
        "layernorm.weight": encoder.layer_norm.gamma,
        "layernorm.bias": encoder.layer_norm.beta,
    }
    hidden = backbone.hidden_dim
    for i, block in enumerate(encoder.encoder_layers):
        attention = block.mha
        layers = {
            "attention.attention.query": attention.query_dense,
            "attention.attention.key": attention.key_dense,
            "attention.attention.value": attention.value_dense,
            "attention.output.dense": attention.output_dense,
            "intermediate.dense": block.mlp.dense_1,
            "output.dense": block.mlp.dense_2,
        }
        for name, layer in layers.items():
            inputs = backbone.mlp_dim if name == "output.dense" else hidden
            tensors[f"encoder.layer.{i}.{name}.weight"] = ops.transpose(ops.reshape(layer.kernel, (inputs, -1)))
            tensors[f"encoder.layer.{i}.{name}.bias"] = ops.reshape(layer.bias, (-1,))
        for name, norm in (("before", block.layer_norm_1), ("after", block.layer_norm_2)):
            tensors[f"encoder.layer.{i}.layernorm_{name}.weight"] = norm.gamma
            tensors[f"encoder.layer.{i}.layernorm_{name}.bias"] = norm.beta
    folder.mkdir()
    arrays = {f"vit.{name}": np.ascontiguousarray(ops.convert_to_numpy(t)) for name, t in tensors.items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "image_size": backbone.image_shape[0],
        "patch_size": embedding.patch_embedding.kernel.shape[0],
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "hidden_size": hidden,
        "intermediate_size": backbone.mlp_dim,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    statistics = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return folder
