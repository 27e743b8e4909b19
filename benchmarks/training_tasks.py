"""The networks that `training_speed.py` trains, by task: as keras_recon has them, and the same in plain PyTorch.

Libraries are imported where they are used: which of them a process sees is its contestant's choice.
"""

from dataclasses import dataclass

LATENT_DIM = 48
SIZES = ("num_layers", "num_heads", "hidden_dim", "mlp_dim")


@dataclass(frozen=True)
class ViTTask:
    """A `ViTReconstructor` of square images, masked with a `mask_ratio`."""

    side: int
    patch_size: int
    variant: str
    mask_ratio: float = 0.0

    def keras_model(self):
        from keras_recon.models import ViTReconstructor

        return ViTReconstructor.from_variant(
            self.variant,
            image_shape=(self.side, self.side, 3),
            patch_size=self.patch_size,
            latent_dim=LATENT_DIM,
            linear_path=False,
            mask_ratio=self.mask_ratio,
        )

    def sizes(self) -> tuple[dict, dict]:
        """Those of the encoder's blocks, and of the decoder's."""
        from keras_recon.models import ViTReconstructor

        sizes = ViTReconstructor.variants[self.variant]
        return {name: sizes[name] for name in SIZES}, {name: sizes[f"decoder_{name}"] for name in SIZES}

    def torch_model(self):
        from torch_peers import ViT

        return ViT(self.side, self.patch_size, LATENT_DIM, *self.sizes(), self.mask_ratio)

    def flops(self) -> int:
        """Floating-point operations of the matrix products of a training step, for one image."""
        from masked_encoding import forward_flops

        return 3 * forward_flops(self.keras_model())


@dataclass(frozen=True)
class AutoencoderTask:
    """A `ConvAutoencoder` of square images."""

    side: int
    variant: str
    mask_ratio = 0.0  # no field: it has no masks

    def keras_model(self):
        from keras_recon.models import ConvAutoencoder

        options = {"image_shape": (self.side, self.side, 3), "latent_dim": LATENT_DIM, "linear_path": False}
        return ConvAutoencoder.from_variant(self.variant, **options)

    def torch_model(self):
        from torch_peers import ConvAutoencoder

        from keras_recon import models

        return ConvAutoencoder(**models.ConvAutoencoder.variants[self.variant], latent_dim=LATENT_DIM)

    def flops(self) -> int:
        """Floating-point operations of the convolutions of a training step, for one image, as PyTorch counts them."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            self.torch_model()(torch.rand(1, self.side, self.side, 3)).backward()
        return counter.get_total_flops()


TASKS = {
    "vit-tiny-64": ViTTask(64, 8, "tiny"),
    "vit-base-224": ViTTask(224, 16, "base"),
    "mae-tiny-64": ViTTask(64, 8, "tiny", 0.75),
    "mae-base-224": ViTTask(224, 16, "base", 0.75),
    "autoencoder-micro-64": AutoencoderTask(64, "micro"),
    "autoencoder-base-64": AutoencoderTask(64, "base"),
    "autoencoder-base-256": AutoencoderTask(256, "base"),
    # For a trial: they take seconds.
    "vit-micro-16": ViTTask(16, 4, "micro"),
    "mae-micro-16": ViTTask(16, 4, "micro", 0.75),
    "autoencoder-micro-16": AutoencoderTask(16, "micro"),
}
