"""Fine-tune a pretrained Vision Transformer to reconstruct images through a bottleneck."""

from dataclasses import dataclass

from launch import run
from settings import RunConfig, parse, setting


@dataclass(frozen=True)
class PretrainedConfig(RunConfig):
    """A training run of `keras_recon.models.PretrainedViTReconstructor`."""

    image_size: str = setting("224", "height and width of the crops in pixels, as 224 or 224x320")
    batch_size: int = setting(16, "images per step")
    preset: str = setting(
        "vit_base_patch16_224_imagenet",
        "keras-hub preset, hf://google/vit-base-patch16-224 or the like, or a local folder in either layout",
    )
    load_weights: bool = setting(True, "the preset's weights; without them, the same architecture starts at random")
    strategy: str = setting(
        "full",
        "what of the backbone is trained: frozen, full, last:N blocks, gradual:E epochs a block, llrd:D layer-wise "
        "decay, lora:R rank, bitfit or layernorm",
    )
    backbone_scale: float = setting(0.1, "learning rate of the backbone as a share of that of the new layers")
    latent_dim: int = setting(48, "latent values per patch")
    feature_layers: str | None = setting(None, "depths that are read, 0 before the first block, as 3,6,9,12; quarters")
    decoder: str = setting("transformer", "decoder", choices=("linear", "transformer", "conv"))
    decoder_num_layers: int = setting(2, "transformer blocks, or residual blocks per level")
    decoder_num_heads: int = setting(4, "attention heads of the decoder")
    decoder_hidden_dim: int = setting(256, "width of the decoder")
    decoder_mlp_dim: int = setting(512, "MLP width of the decoder")
    linear_path: bool = setting(True, "linear autoencoder beside the network, fitted by PCA before the training")

    def model_options(self) -> dict:
        options = super().model_options()
        del options["backbone_scale"]  # of the training
        if "feature_layers" in options:
            try:
                options["feature_layers"] = tuple(int(layer) for layer in self.feature_layers.split(","))
            except ValueError:
                raise ValueError(
                    f"`feature_layers` must be as 3,6,9,12. Received: feature_layers={self.feature_layers!r}"
                ) from None
        return options


SMOKE = {"image_size": "32", "batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1}
SMOKE |= {"decoder_hidden_dim": 16, "decoder_num_layers": 1, "decoder_mlp_dim": 16}


def main(argv: list[str] | None = None):
    config, resume = parse(PretrainedConfig, argv, "pretrained", SMOKE, __doc__)

    def build_model(models):
        model = models.PretrainedViTReconstructor.from_preset(**config.model_options())
        print(model.trainable_report())
        return model

    run(config, resume, build_model)


if __name__ == "__main__":
    main()
