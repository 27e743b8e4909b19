"""The systems that can be trained, in one table."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from app.settings import RunConfig, flag, option

from keras_recon import models

LINEAR_PATH = "linear autoencoder beside the network, fitted by PCA before the training"
REFINER = "channels of the convolutions on the image at the end, 0 for none (beside a linear path: 32)"


@dataclass(frozen=True)
class ViTConfig(RunConfig):
    """A training run of `keras_recon.models.ViTReconstructor`."""

    # 1,200 steps of 16 crops gave 33.63 dB where 600 of 32 gave 33.47.
    batch_size: int = 16
    steps_per_epoch: int = 200
    variant: str = option("micro", "size of the model", choices=("micro", "tiny", "small", "base", "large"))
    patch_size: int = option(8, "side of the patches in pixels")
    latent_dim: int = option(12, "latent values per patch")
    num_layers: int | None = option(None, "encoder depth, in place of the variant's (micro: 4)")
    num_heads: int | None = option(None, "encoder attention heads, in place of the variant's (micro: 4)")
    hidden_dim: int | None = option(None, "encoder width, in place of the variant's (micro: 128)")
    mlp_dim: int | None = option(None, "encoder MLP width, in place of the variant's (micro: 256)")
    decoder_num_layers: int | None = option(None, "decoder depth, in place of the variant's (micro: 2)")
    decoder_num_heads: int | None = option(None, "decoder attention heads, in place of the variant's (micro: 4)")
    decoder_hidden_dim: int | None = option(None, "decoder width, in place of the variant's (micro: 128)")
    decoder_mlp_dim: int | None = option(None, "decoder MLP width, in place of the variant's (micro: 256)")
    dropout_rate: float = option(0.0, "dropout after attention and MLP, from 0 to below 1")
    drop_path_rate: float = option(0.0, "stochastic depth of the last block, from 0 to below 1")
    position_embedding: str = option("learned", "learned or sincos", choices=("learned", "sincos"))
    linear_path: bool = option(True, LINEAR_PATH)
    refiner_filters: int | None = option(None, REFINER)

    def build_model(self) -> models.ViTReconstructor:
        return models.ViTReconstructor.from_variant(**self.model_options())


@dataclass(frozen=True)
class MAEConfig(ViTConfig):
    """A training run of a masked `keras_recon.models.ViTReconstructor`."""

    batch_size: int = 32
    steps_per_epoch: int = 100
    # Hidden patches are far from the mean patch, where a linear path would start, and its heads move slowly.
    linear_path: bool = option(False, LINEAR_PATH)
    learning_rate: float = 1e-3
    latent_dim: int = option(48, "latent values per patch")
    mask_ratio: float = option(0.75, "share of the patches that is hidden, above 0 and below 1")
    normalize_target: bool = option(False, "predict patches of mean 0 and standard deviation 1")

    def model_options(self) -> dict:
        return {**super().model_options(), "seed": self.seed}


@dataclass(frozen=True)
class AutoencoderConfig(RunConfig):
    """A training run of `keras_recon.models.ConvAutoencoder`."""

    # As many crops as the other scripts, in smaller batches: from 4,800 crops in batches of 32, 16 and 8 it learned
    # 0.10, 0.31 and 0.62 dB over PCA.
    batch_size: int = 8
    steps_per_epoch: int = 400
    warmup_steps: int = 200
    variant: str = option("micro", "size of the model", choices=("micro", "small", "base"))
    latent_dim: int = option(12, "latent values per position of the coarsest level")
    filters: str | None = option(None, "channels per level, fine to coarse, in place of the variant's (16,64,160)")
    num_blocks: int | None = option(None, "residual blocks per level, in place of the variant's (micro: 1)")
    normalization: str = option("batch", "of the blocks", choices=("batch", "layer", "group", "none"))
    upsampling: str = option("pixel_shuffle", "of the decoder", choices=("pixel_shuffle", "resize", "transposed"))
    dropout_rate: float = option(0.0, "dropout in the blocks, from 0 to below 1")
    kl_weight: float = option(0.0, "weight of the KL divergence of a variational bottleneck; 0 for none")
    linear_path: bool = option(True, LINEAR_PATH)
    refiner_filters: int | None = option(None, REFINER)

    def model_options(self) -> dict:
        options = {**super().model_options(), "seed": self.seed}
        return {**options, "filters": _numbers(self, "filters", "16,64,160")} if self.filters else options

    def build_model(self) -> models.ConvAutoencoder:
        return models.ConvAutoencoder.from_variant(**self.model_options())


@dataclass(frozen=True)
class RestorationConfig(RunConfig):
    """A training run of `keras_recon.models.RestorationUNet`."""

    degradation: str | None = option(
        "noise:0-50", "what the model learns to undo, such as noise:25, jpeg:10-90, blur:1.6+noise:5 or downsample:2"
    )
    image_size: str = option("96", "height and width of the crops in pixels, as 96 or 96x128")
    batch_size: int = 16
    loss: str = "charbonnier"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    quarter_turns: bool = True
    filters: str = option("64,64,64", "channels per level, fine to coarse; the first has half the height and width")
    num_blocks: int = option(2, "residual blocks per level")
    upscale: int = option(
        1, "how many times as high and wide as its input the output is; photos are downscaled", choices=(1, 2, 4)
    )

    def model_options(self) -> dict:
        return {**super().model_options(), "filters": _numbers(self, "filters", "64,64,64")}

    def build_model(self) -> models.RestorationUNet:
        return models.RestorationUNet(**self.model_options())


@dataclass(frozen=True)
class PretrainedConfig(RunConfig):
    """A training run of `keras_recon.models.PretrainedViTReconstructor`."""

    image_size: str = option("224", "height and width of the crops in pixels, as 224 or 224x320")
    batch_size: int = 16
    backbone_scale: float = option(0.1, "learning rate of the backbone as a share of that of the new layers")
    preset: str = option(
        "vit_base_patch16_224_imagenet",
        "keras-hub preset, hf://google/vit-base-patch16-224 or the like, or a local folder in either layout",
    )
    load_weights: bool = option(True, "the preset's weights; without them, the same architecture starts at random")
    strategy: str = option(
        "full",
        "what of the backbone is trained: frozen, full, last:N blocks, gradual:E epochs a block, llrd:D layer-wise "
        "decay, lora:R rank, bitfit or layernorm",
    )
    latent_dim: int = option(48, "latent values per patch")
    feature_layers: str | None = option(None, "depths that are read, 0 before the first block, as 3,6,9,12; quarters")
    stem_filters: str | None = option(
        None, "channels per level of a convolutional stem beside the backbone, fine to coarse, as 32,64,128,256; none"
    )
    decoder: str = option("transformer", "decoder", choices=("linear", "transformer", "conv"))
    decoder_num_layers: int = option(2, "transformer blocks, or residual blocks per level")
    decoder_num_heads: int = option(4, "attention heads of the decoder")
    decoder_hidden_dim: int = option(256, "width of the decoder")
    decoder_mlp_dim: int = option(512, "MLP width of the decoder")
    linear_path: bool = option(True, LINEAR_PATH)
    refiner_filters: int | None = option(None, REFINER)

    def model_options(self) -> dict:
        options = super().model_options()
        for name, example in (("feature_layers", "3,6,9,12"), ("stem_filters", "32,64,128,256")):
            if getattr(self, name):
                options[name] = _numbers(self, name, example)
        return options

    def build_model(self) -> models.PretrainedViTReconstructor:
        model = models.PretrainedViTReconstructor.from_preset(**self.model_options())
        print(model.trainable_report())
        return model


@dataclass(frozen=True)
class System:
    """What a training script trains.

    Attributes:
        script: its file in `examples/`.
        config: its settings, whose `build_model` makes the model.
        model: its class.
        keep: `keep(model, run)` writes what else is kept of a trained model.
        tell: `tell(config)` prints what can be done with that.
    """

    script: str
    config: type[RunConfig]
    model: type[models.ImageModel]
    keep: Callable = lambda model, run: None
    tell: Callable = lambda config: None


def _save_backbone(model, run):
    from keras_recon.export.backbone import save_backbone  # keras-hub takes seconds to import

    save_backbone(model, run.backbone)


def _tell_of_backbone(config):
    print(f"\n{config.run.backbone} is the encoder as a keras-hub preset; to train on with it:")
    command = ["python", "examples/train_pretrained.py", "--preset", config.run.backbone]
    for name in ("data", "data_dir", "image_size", "channels", "latent_dim"):
        if (value := getattr(config, name)) is not None:
            command += [flag(name), value]
    print(shlex.join(map(str, command)))


SYSTEMS = {
    "vit": System("train_vit.py", ViTConfig, models.ViTReconstructor),
    "autoencoder": System("train_autoencoder.py", AutoencoderConfig, models.ConvAutoencoder),
    "restoration": System("train_restoration.py", RestorationConfig, models.RestorationUNet),
    "pretrained": System("train_pretrained.py", PretrainedConfig, models.PretrainedViTReconstructor),
    "mae": System("pretrain_mae.py", MAEConfig, models.MaskedReconstructor, _save_backbone, _tell_of_backbone),
}


def _numbers(config, name, example) -> tuple[int, ...]:
    text = getattr(config, name)
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"`{name}` must be as {example}. Received: {name}={text!r}") from None
