"""Write the golden files of a released version: python tests/golden/make.py, under each KERAS_BACKEND.

They are never written anew: tests/test_golden.py shows that later versions load them with the same outputs.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_recon
from keras_recon.models import ConvAutoencoder, PretrainedViTReconstructor, ViTReconstructor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from models.tiny_backbones import tiny_backbone  # noqa: E402


def main():
    folder = HERE / keras_recon.__version__ / keras.backend.backend()
    folder.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    decoder = {f"decoder_{name}": value for name, value in small.items()}
    vit = {"image_shape": (16, 16, 3), "patch_size": 8, "latent_dim": 5, **small, **decoder}
    models = {
        "vit": ViTReconstructor(**vit),
        "masked": ViTReconstructor(**vit, mask_ratio=0.5, normalize_target=True),
        "autoencoder": ConvAutoencoder((16, 16, 3), filters=(4, 6), latent_dim=5),
        "pretrained": PretrainedViTReconstructor(tiny_backbone(), latent_dim=5, decoder="linear"),
    }
    outputs = {}
    for name, model in models.items():
        if model.linear_path:
            model.adapt(images)
        model.compile("adam", "mse")
        model.fit(images, images, verbose=0)
        outputs[name] = model.predict(images, verbose=0)
        model.save(folder / f"{name}.keras", include_optimizer=False)
    np.savez_compressed(folder / "images.npz", images=images, **outputs)


if __name__ == "__main__":
    main()
