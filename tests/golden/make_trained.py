"""Write the golden files of models with state: KERAS_BACKEND=tensorflow python tests/golden/make_trained.py.

Frozen layers, quantised layers and LoRA are part of a model's configuration. 0.1.0 saved frozen and quantised layers as
indices. The files in `trained/` have that form. They were written before paths replaced indices, and later versions
cannot write them again.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_recon
from keras_recon import models

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from anomaly.tiny_detectors import tiny_detector  # noqa: E402
from compression.tiny_codecs import tiny_codec  # noqa: E402
from contracts import random_images  # noqa: E402
from models.tiny_backbones import tiny_backbone  # noqa: E402

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
VIT = {"image_shape": (16, 16, 3), "patch_size": 8, "latent_dim": 5, "refiner_filters": 2, **SMALL}
VIT |= {f"decoder_{name}": value for name, value in SMALL.items()}
IN_EACH_BACKEND = ("vit_frozen", "vit_int8", "vit_lora")  # the others are written by TensorFlow


def trained(model, images, targets=None):
    """After one step of training, so that no head is zero."""
    if getattr(model, "linear_path", False):
        model.adapt(images)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(images, images if targets is None else targets, verbose=0)
    return model


def vit(images):
    return trained(models.ViTReconstructor(**VIT), images)


def autoencoder(images, **kwargs):
    return trained(
        models.ConvAutoencoder((16, 16, 3), filters=(4, 6), latent_dim=5, refiner_filters=2, **kwargs), images
    )


def pretrained(images, backbone=None, **kwargs):
    kwargs |= {"latent_dim": 5, "decoder": "linear", "refiner_filters": 2}
    return trained(models.PretrainedViTReconstructor(backbone or tiny_backbone(), **kwargs), images)


def vit_frozen(images):
    model = vit(images)
    for layer in (model.encoder.blocks[0], model.decoder.blocks[1].mlp_in, model.refiner, model.latent_head):
        layer.trainable = False
    return model


def autoencoder_frozen(images):
    model = autoencoder(images)
    model.encoder.trainable = False
    return model


def pretrained_frozen(images):
    backbone = tiny_backbone()
    backbone.layers[1].trainable = False
    model = pretrained(images, backbone)
    model.decoder.trainable = False
    return model


def quantized(model, mode, **kwargs):
    model.quantize(mode, **kwargs)
    return model


def with_lora(model, images):
    model.enable_lora(2)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(images, images, epochs=2, verbose=0)
    return model


def restoration(images, upscale=1):
    model = models.RestorationUNet((16, 16, 3), filters=(4, 6), num_blocks=1, upscale=upscale)
    return trained(model, images, images.repeat(upscale, axis=1).repeat(upscale, axis=2))


def linear(images):
    model = models.LinearReconstructor((16, 16, 3), patch_size=8, latent_dim=5)
    model.adapt(images)
    return model


def detector(method):
    made = tiny_detector(method)
    made.adapt(random_images(6, 16, 24, 3, seed=3))
    return made


MAKERS = {
    "vit_frozen": vit_frozen,
    "autoencoder_frozen": autoencoder_frozen,
    "pretrained_frozen": pretrained_frozen,
    "pretrained_last": lambda images: pretrained(images, strategy="last:1"),
    "vit_int8": lambda images: quantized(vit(images), "int8"),
    "vit_int8_encoder": lambda images: quantized(
        vit(images), "int8", filters=lambda layer: layer.name in ("mlp_in", "latent_head")
    ),
    "vit_int4": lambda images: quantized(vit(images), "int4"),
    "pretrained_int8": lambda images: quantized(pretrained(images), "int8"),
    "vit_lora": lambda images: with_lora(vit(images), images),
    "autoencoder_lora": lambda images: with_lora(autoencoder(images), images),
    "pretrained_lora": lambda images: pretrained(images, strategy="lora:2"),
    "autoencoder_variational": lambda images: autoencoder(images, kl_weight=1e-3),
    "restoration": restoration,
    "restoration_upscale2": lambda images: restoration(images, 2),
    "linear": linear,
    "codec": lambda images: tiny_codec(),
    "detector_nearest": lambda images: detector("nearest"),
    "detector_gaussian": lambda images: detector("gaussian"),
    "detector_ensemble": lambda images: detector("ensemble"),
    "detector_classifier": lambda images: detector("classifier"),
}


def answers(model, images) -> np.ndarray:
    """What inference gives: images, or the map of a detector."""
    outputs = model(images, training=False)
    return ops.convert_to_numpy(outputs.get("map", outputs.get("images")) if isinstance(outputs, dict) else outputs)


def interrupted_run(folder: Path):
    """A run of three epochs that a signal ends after four of its nine steps, and what an undisturbed one ends with."""
    images = random_images(12, 24, 24, 3, seed=4)
    photos = keras_recon.data.load_photos((images[:9], images[9:]))
    options = keras_recon.TrainingOptions(batch_size=4, epochs=3, steps_per_epoch=3, warmup_steps=1, seed=1)

    class Signal(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 4:
                signal.raise_signal(signal.SIGTERM)

    def run(path, callbacks=()):
        keras.utils.set_random_seed(1)
        model = models.ViTReconstructor(**VIT)
        logging = train_module._logging
        train_module._logging = lambda *args: [*logging(*args), *callbacks]
        try:
            keras_recon.train(model, *photos, path, options, finish=False)
        finally:
            train_module._logging = logging
        return model

    from keras_recon.training import train as _  # noqa: F401  the function hides its module

    train_module = sys.modules["keras_recon.training.train"]
    try:
        run(folder / "run", [Signal()])
    except keras_recon.callbacks.Interrupted:
        shutil.rmtree(folder / "run" / "logs")
    whole = run(folder / "whole")
    np.savez_compressed(
        folder / "whole.npz", outputs=answers(whole, images[:2, :16, :16]), log=(folder / "whole/log.csv").read_text()
    )
    shutil.rmtree(folder / "whole")


def main():
    backend = keras.backend.backend()
    folder = HERE / "trained" / backend
    folder.mkdir(parents=True)
    arrays = {}
    for name in MAKERS if backend == "tensorflow" else IN_EACH_BACKEND:
        keras.utils.set_random_seed(0)
        images = random_images(4, 16, 16, 3)
        model = MAKERS[name](images)
        model.save(folder / f"{name}.keras", include_optimizer=False)
        images = random_images(2, 64, 64, 3, seed=2) if name == "codec" else images
        arrays |= {
            f"{name}/images": images,
            f"{name}/outputs": answers(model, images),
            f"{name}/trainable": np.array([variable.trainable for variable in model.weights]),
            f"{name}/dtypes": np.array([keras.backend.standardize_dtype(v.dtype) for v in model.weights]),
        }
    np.savez_compressed(folder / "answers.npz", **arrays)
    if backend == "tensorflow":
        interrupted_run(folder)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
