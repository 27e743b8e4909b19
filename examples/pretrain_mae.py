"""Pretrain a Vision Transformer without labels, by reconstructing hidden patches; leaves its encoder as a preset."""

import shlex
from dataclasses import dataclass

from launch import run
from settings import parse, setting
from train_vit import SMOKE, ViTConfig


@dataclass(frozen=True)
class MAEConfig(ViTConfig):
    """A training run of a masked `keras_recon.models.ViTReconstructor`."""

    # Hidden patches are far from the mean patch, where a linear path would start, and its heads move slowly.
    linear_path: bool = setting(False, "linear autoencoder beside the network, fitted by PCA before the training")
    learning_rate: float = setting(1e-3, "peak learning rate of AdamW")
    latent_dim: int = setting(48, "latent values per patch")
    mask_ratio: float = setting(0.75, "share of the patches that is hidden, above 0 and below 1")
    normalize_target: bool = setting(False, "predict patches of mean 0 and standard deviation 1")

    def model_options(self) -> dict:
        return {**super().model_options(), "seed": self.seed}


def main(argv: list[str] | None = None):
    config, resume = parse(MAEConfig, argv, "mae", SMOKE, __doc__)
    folder = config.run_dir / "backbone"

    def keep(model):
        from keras_recon.models.backbone_export import save_backbone

        save_backbone(model, folder)

    if run(config, resume, lambda models: models.ViTReconstructor.from_variant(**config.model_options()), keep) is None:
        return  # the first of several processes tells of it
    print(f"\n{folder} is the encoder as a keras-hub preset; to train on with it:")
    command = ["python", "examples/train_pretrained.py", "--preset", folder]
    for name in ("data", "data_dir", "image_size", "channels", "latent_dim"):
        if (value := getattr(config, name)) is not None:
            command += [f"--{name.replace('_', '-')}", value]
    print(shlex.join(map(str, command)))


if __name__ == "__main__":
    main()
