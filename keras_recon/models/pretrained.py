"""The reconstructor on a pretrained ViT of keras-hub."""

import typing

import keras
import numpy as np
from keras import ops

from keras_recon.features.backbones import (
    BackboneFeatures,
    adapt_channels,
    backbone_parts,
    check_statistics,
    constant_positions,
    deserialize_backbone,
    load_backbone,
    load_mean_std,
    patch_side,
    quarter_depths,
    read_depths,
    reshape_backbone,
)
from keras_recon.layers import ConvEncoder
from keras_recon.layers.decoders import make_decoder, with_decoder
from keras_recon.models import finetuning
from keras_recon.models.reconstructor import Reconstructor, centered
from keras_recon.utils.run import Run


@keras.saving.register_keras_serializable("keras_recon")
class PretrainedViTReconstructor(Reconstructor):
    """A pretrained keras-hub backbone, read at several depths, with a bottleneck and a decoder to images.

        images -+-> (x - mean) / std -> stem -> block 1 -> block 2 -> ... -> block N
                |                          |        |          |                |
                |-> convolutional stem -+- norms of the `feature_layers`, concatenated
                |                                            head
                +----------------- linear --------------------+-> latents -+-> decoder -+-> images
                                                                           +-- linear --+

    Early blocks keep details of the pixels, late blocks the meaning of the image. Blocks after the last of
    `feature_layers` are not run. See `Reconstructor` for the linear path.

    Args:
        backbone: a keras-hub image backbone with patch tokens (ViT, DeiT, DINOv2, DINOv3, or the vision encoder of CLIP
            or SigLIP) for the shape of the images; see `from_preset`. Its frozen layers stay frozen. With the strategy
            `"full"` the model trains this backbone, with other strategies a copy.
        latent_dim: latent values per patch.
        feature_layers: depths to read: 0 is the input of the first block, i the output of block i. None for a quarter,
            half, three quarters and all of the depth.
        stem_filters: channels per level of a convolutional stem beside the backbone, from fine to coarse, where
            2^levels is the patch size; () for no stem ("Early Convolutions Help Transformers See Better", Xiao et al.,
            2021).
        strategy: which part of the backbone is trained: `"frozen"`, `"full"`, `"last:N"`, `"gradual:E"`, `"llrd:D"`,
            `"lora:R"`, `"bitfit"` or `"layernorm"`, see `keras_recon.models.finetuning.apply_strategy`. `gradual` and
            `llrd` need a `keras_recon.optimizers.LayerwiseAdamW` in `compile`.
        decoder: `"linear"`, `"transformer"`, `"conv"`, which needs a patch size that is a power of two, or a layer from
            latents (batch, *latent_shape) to images, which are added to those of the linear path.
        decoder_num_layers: transformer blocks, or residual blocks per level of the convolutional decoder.
        decoder_num_heads: attention heads of the transformer.
        decoder_hidden_dim: width of the transformer, or channels of the coarsest level of the convolutional decoder,
            which halve from level to level.
        decoder_mlp_dim: MLP width of the transformer.
        mean: mean of each channel in the training of the backbone, for pixels in [0, 1].
        std: standard deviation of each channel in the training of the backbone.
        linear_path: the linear autoencoder beside the network, `"lapped"`, True or False; fit it with `adapt`.
        **kwargs: `refiner_filters`, see `Reconstructor`, `name` and `dtype`.

    Example:
    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> model = keras_recon.models.PretrainedViTReconstructor(backbone, latent_dim=12, strategy="lora:4")
    >>> model.latent_shape, model.feature_layers
    ((4, 4, 12), (1, 2, 3, 4))
    >>> model.predict(np.random.rand(2, 32, 32, 3), verbose=0).shape
    (2, 32, 32, 3)
    """

    presets: typing.ClassVar = {}

    def __init__(
        self,
        backbone: keras.Model,
        latent_dim: int = 48,
        feature_layers: tuple[int, ...] | None = None,
        stem_filters: tuple[int, ...] = (),
        strategy: str = "full",
        decoder: str | keras.layers.Layer = "transformer",
        decoder_num_layers: int = 2,
        decoder_num_heads: int = 4,
        decoder_hidden_dim: int = 256,
        decoder_mlp_dim: int = 512,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
        linear_path: bool | str = "lapped",
        **kwargs,
    ):
        if isinstance(backbone, str):
            raise ValueError(
                "`backbone` must be a keras-hub backbone; `PretrainedViTReconstructor.from_preset` loads one by its "
                f"name. Received: backbone={backbone!r}"
            )
        backbone = getattr(backbone, "vision_encoder", backbone)
        if strategy != "full":
            backbone = finetuning.copy_backbone(backbone)
        _, blocks = backbone_parts(backbone)
        depth = len(blocks)
        if feature_layers is None:
            feature_layers = quarter_depths(depth)
        feature_layers = tuple(feature_layers)
        if not feature_layers or not all(0 <= layer <= depth for layer in feature_layers):
            raise ValueError(
                f"`feature_layers` must be some of the depths 0 to {depth}. Received: feature_layers={feature_layers}"
            )
        check_statistics(mean, std, backbone.image_shape[-1])
        super().__init__(backbone.image_shape, patch_side(backbone.patch_size), latent_dim, linear_path, **kwargs)
        self.stem_filters = tuple(stem_filters)
        if self.stem_filters:
            if 2 ** len(self.stem_filters) != self.patch_size:
                raise ValueError(
                    "`stem_filters` must have a number per level, and 2^levels must be the patch size, "
                    f"{self.patch_size}. Received: stem_filters={self.stem_filters}"
                )
            # Group normalisation, because nothing else in the model depends on the batch.
            self.conv_stem = ConvEncoder(self.stem_filters, 1, "group", dtype=self.dtype_policy, name="conv_stem")
        finetuning.apply_strategy(backbone, strategy, max(feature_layers))
        constant_positions(backbone)
        self.backbone = backbone
        if strategy.startswith("lora"):
            finetuning.track_lora(self, backbone)
        self.feature_norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name=f"feature_norm_{layer}")
            for layer in feature_layers
        ]
        self.latent_head = self.make_latent_head()
        self.decoder = make_decoder(
            self, decoder, decoder_num_layers, decoder_num_heads, decoder_hidden_dim, decoder_mlp_dim
        )
        self.feature_layers = feature_layers
        self.strategy = strategy
        self.decoder_kind = decoder if isinstance(decoder, str) else None
        self.decoder_num_layers = decoder_num_layers
        self.decoder_num_heads = decoder_num_heads
        self.decoder_hidden_dim = decoder_hidden_dim
        self.decoder_mlp_dim = decoder_mlp_dim
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        super().build(input_shape)
        hidden_dim = self.backbone.output_shape[-1]
        for norm in self.feature_norms:
            norm.build((None, *self.latent_shape[:2], hidden_dim))
        if self.stem_filters:
            self.conv_stem.build((None, *self.image_shape))
        self.build_heads(hidden_dim * len(self.feature_norms) + sum(self.stem_filters[-1:]))

    @classmethod
    def from_preset(
        cls,
        preset: str,
        image_shape: tuple[int, int, int] | None = None,
        load_weights: bool = True,
        dtype=None,
        **kwargs,
    ) -> "PretrainedViTReconstructor":
        """Build a reconstructor on the backbone of a preset, with the mean and std of its inputs.

        Args:
            preset: name of a keras-hub preset, `hf://owner/name`, or a local folder in Keras or Hugging Face layout. A
                folder that `save_to_preset` or a training run saved is loaded as a whole model.
            image_shape: (height, width, channels); None for that of the preset. Position embeddings are resized to
                another size. The patch embedding, the mean and the std are adapted to another number of channels, see
                `keras_recon.features.backbones`.
            load_weights: False for the same architecture with random weights.
            dtype: dtype policy; None for the global one.
            **kwargs: arguments of the constructor.
        """
        if Run(preset).model.exists():
            given = {k: v for k, v in (("image_shape", image_shape), ("dtype", dtype)) if v is not None}
            return super().from_preset(preset, load_weights, **given, **kwargs)
        backbone = load_backbone(preset, load_weights, dtype)
        image_shape = tuple(image_shape or backbone.image_shape)
        mean, std = (adapt_channels(np.array(values), image_shape[-1]) for values in load_mean_std(preset))
        kwargs = {"mean": tuple(mean.tolist()), "std": tuple(std.tolist()), **kwargs}
        return cls(reshape_backbone(backbone, image_shape), dtype=dtype, **kwargs)

    def encoder_features(self, images, patches, training=None):
        """Compute the normalised features of all depths, and those of the convolutional stem."""
        mean, std = (ops.convert_to_tensor(values, "float32") for values in (self.mean, self.std))
        inputs = (ops.convert_to_tensor(images) - mean) / std
        if isinstance(inputs, keras.KerasTensor):  # in a functional model, the stems of keras-hub do not load alone
            grids = BackboneFeatures(self.backbone, self.feature_layers)(inputs)
        else:
            grids = read_depths(self.backbone, self.feature_layers, inputs)
        grids = [norm(grid) for norm, grid in zip(self.feature_norms, grids)]
        if self.stem_filters:
            grids.append(self.conv_stem(centered(images), training=training)[-1])
        return ops.concatenate(grids, axis=-1)  # (batch, rows, columns, depths * hidden_dim + the stem's channels)

    def variable_depths(self):
        """Return the depths of the backbone's variables, by path."""
        return finetuning.variable_depths(self.backbone, max(self.feature_layers))

    def enable_lora(self, rank: int):
        """Switch to the strategy `lora:R`. Compile the model afterwards."""
        finetuning.check_lora(self, rank)
        self.strategy = f"lora:{rank}"
        finetuning.apply_strategy(self.backbone, self.strategy, max(self.feature_layers))
        finetuning.track_lora(self, self.backbone)

    def merged(self):
        """Return a copy, with the strategy `frozen`, whose kernels include the updates of LoRA."""
        return finetuning.merge_lora(self, strategy="frozen")

    def compile(self, optimizer="rmsprop", *args, **kwargs):
        optimizer = finetuning.optimizer_for(self.strategy, optimizer, self.variable_depths())
        super().compile(optimizer, *args, **kwargs)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, *args, **kwargs):
        callbacks = finetuning.callbacks_for(self.strategy, callbacks, max(self.feature_layers))
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs)

    def trainable_report(self) -> str:
        """Return a table of the parts of the model with their parameters and trained parameters."""
        stem, blocks = backbone_parts(self.backbone)
        used = max(self.feature_layers)
        parts = {"stem": stem}
        parts |= {f"block {i}" + ("" if i <= used else " (not run)"): [b] for i, b in enumerate(blocks, 1)}
        parts |= {"convolutional stem": [self.conv_stem]} if self.stem_filters else {}
        parts |= {"feature norms": self.feature_norms, "latent head": [self.latent_head], "decoder": [self.decoder]}
        parts |= {"refiner": [self.refiner]} if self.refiner_filters else {}
        parts |= {"linear path (fitted)": [self.linear]} if self.linear_path else {}
        return finetuning.report(self.strategy, parts)

    @classmethod
    def from_config(cls, config):
        backbone = deserialize_backbone(config["backbone"])
        return super().from_config({**with_decoder(config), "backbone": backbone})

    def get_config(self):
        config = super().get_config()
        del config["image_shape"]  # that of the backbone
        backbone = keras.saving.serialize_keras_object(self.backbone)
        if "quantized" in config:  # Keras names the quantised layers by variable paths, which change in a loaded model
            dtype = backbone["config"]["dtype"]
            backbone["config"]["dtype"] = dtype["config"].get("default_policy", dtype)
        return {
            **config,
            "backbone": backbone,
            "feature_layers": self.feature_layers,
            "stem_filters": self.stem_filters,
            "strategy": self.strategy,
            "decoder": self.decoder_kind or keras.saving.serialize_keras_object(self.decoder),
            "decoder_num_layers": self.decoder_num_layers,
            "decoder_num_heads": self.decoder_num_heads,
            "decoder_hidden_dim": self.decoder_hidden_dim,
            "decoder_mlp_dim": self.decoder_mlp_dim,
            "mean": self.mean,
            "std": self.std,
        }
