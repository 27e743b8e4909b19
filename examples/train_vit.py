"""Train a Vision Transformer from scratch to reconstruct images through a bottleneck."""

from dataclasses import dataclass

from launch import run
from settings import RunConfig, parse, setting


@dataclass(frozen=True)
class ViTConfig(RunConfig):
    """A training run of `keras_recon.models.ViTReconstructor`."""

    variant: str = setting("micro", "size of the model", choices=("micro", "tiny", "small", "base", "large"))
    patch_size: int = setting(8, "side of the patches in pixels")
    latent_dim: int = setting(12, "latent values per patch")
    num_layers: int | None = setting(None, "encoder depth, in place of the variant's (micro: 4)")
    num_heads: int | None = setting(None, "encoder attention heads, in place of the variant's (micro: 4)")
    hidden_dim: int | None = setting(None, "encoder width, in place of the variant's (micro: 128)")
    mlp_dim: int | None = setting(None, "encoder MLP width, in place of the variant's (micro: 256)")
    decoder_num_layers: int | None = setting(None, "decoder depth, in place of the variant's (micro: 2)")
    decoder_num_heads: int | None = setting(None, "decoder attention heads, in place of the variant's (micro: 4)")
    decoder_hidden_dim: int | None = setting(None, "decoder width, in place of the variant's (micro: 128)")
    decoder_mlp_dim: int | None = setting(None, "decoder MLP width, in place of the variant's (micro: 256)")
    dropout_rate: float = setting(0.0, "dropout after attention and MLP, from 0 to below 1")
    drop_path_rate: float = setting(0.0, "stochastic depth of the last block, from 0 to below 1")
    position_embedding: str = setting("learned", "learned or sincos", choices=("learned", "sincos"))
    linear_path: bool = setting(True, "linear autoencoder beside the network, fitted by PCA before the training")


SMOKE = {"image_size": "16", "batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1, "hidden_dim": 16}
SMOKE |= {"decoder_hidden_dim": 16, "num_layers": 1, "decoder_num_layers": 1}


def main(argv: list[str] | None = None):
    config, resume = parse(ViTConfig, argv, "vit", SMOKE, __doc__)
    run(config, resume, lambda models: models.ViTReconstructor.from_variant(**config.model_options()))


if __name__ == "__main__":
    main()
