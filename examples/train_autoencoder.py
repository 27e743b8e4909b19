"""Train a convolutional autoencoder to reconstruct images through a bottleneck."""

from dataclasses import dataclass

from launch import run
from settings import RunConfig, parse, setting


@dataclass(frozen=True)
class AutoencoderConfig(RunConfig):
    """A training run of `keras_recon.models.ConvAutoencoder`."""

    # As many crops as the other scripts, in smaller batches: from 4,800 crops in batches of 32, 16 and 8 it learned
    # 0.10, 0.31 and 0.62 dB over PCA.
    batch_size: int = setting(8, "images per step")
    steps_per_epoch: int = setting(400, "training steps per epoch")
    warmup_steps: int = setting(200, "steps until the peak learning rate; in short runs at most half of all")
    variant: str = setting("micro", "size of the model", choices=("micro", "small", "base"))
    latent_dim: int = setting(12, "latent values per position of the coarsest level")
    filters: str | None = setting(
        None, "channels per level, fine to coarse, in place of the variant's (micro: 16,64,160)"
    )
    num_blocks: int | None = setting(None, "residual blocks per level, in place of the variant's (micro: 1)")
    normalization: str = setting("batch", "of the blocks", choices=("batch", "layer", "group", "none"))
    upsampling: str = setting("pixel_shuffle", "of the decoder", choices=("pixel_shuffle", "resize", "transposed"))
    dropout_rate: float = setting(0.0, "dropout in the blocks, from 0 to below 1")
    skips: bool = setting(False, "U-Net skips around the bottleneck, for restoration")
    kl_weight: float = setting(0.0, "weight of the KL divergence of a variational bottleneck; 0 for none")
    linear_path: bool = setting(True, "linear autoencoder beside the network, fitted by PCA before the training")

    def model_options(self) -> dict:
        options = super().model_options()
        if "filters" in options:
            try:
                options["filters"] = tuple(int(width) for width in self.filters.split(","))
            except ValueError:
                raise ValueError(f"`filters` must be as 16,64,160. Received: filters={self.filters!r}") from None
        return {**options, "seed": self.seed}


SMOKE = {"image_size": "16", "batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1, "filters": "8,8"}


def main(argv: list[str] | None = None):
    config, resume = parse(AutoencoderConfig, argv, "autoencoder", SMOKE, __doc__)
    run(config, resume, lambda models: models.ConvAutoencoder.from_variant(**config.model_options()))


if __name__ == "__main__":
    main()
