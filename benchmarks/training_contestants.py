"""One contestant of `training_speed.py`, a process of its own: it reads numbers of steps and prints seconds.

`python training_contestants.py TASK CONTESTANT DTYPE BATCH`; CONTESTANT is `library/engine`, see `train`.
"""

import itertools
import sys
import time

import numpy as np

TASKS = {  # image size, patch size, variant, mask ratio
    "vit-tiny-64": (64, 8, "tiny", 0.0),
    "vit-base-224": (224, 16, "base", 0.0),
    "mae-tiny-64": (64, 8, "tiny", 0.75),
    "mae-base-224": (224, 16, "base", 0.75),
    "autoencoder-64": (64, 8, "micro", None),
}
LATENT_DIM = 48


def train(task: str, contestant: str, dtype: str, images: np.ndarray, turns):
    """Train a contestant; `turns()` is called after every step, with a function that waits for its loss."""
    library, engine = contestant.split("/")
    if library in ("keras_recon", "keras_hub"):
        import keras

        keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)
        model = _keras_recon(task) if library == "keras_recon" else _keras_hub(task)
        _keras(model, task, engine, images, turns)
    else:
        model = _transformers(task) if library == "transformers" else _torch_peer(task)
        _torch(model, engine, dtype, images, turns)


def _keras_recon(task):
    from keras_recon.models import ConvAutoencoder, ViTReconstructor

    side, patch_size, variant, mask_ratio = TASKS[task]
    options = {"image_shape": (side, side, 3), "latent_dim": LATENT_DIM, "linear_path": False}
    if task.startswith("autoencoder"):
        return ConvAutoencoder.from_variant(variant, **options)
    return ViTReconstructor.from_variant(variant, **options, patch_size=patch_size, mask_ratio=mask_ratio)


def _keras_hub(task):
    """As many blocks in one stack: of the variant `tiny`, encoder and decoder have the same ones."""
    import keras
    import keras_hub

    from keras_recon.layers import LinearDecoder

    side, patch_size, _, _ = TASKS[task]
    backbone = keras_hub.models.ViTBackbone((side, side, 3), patch_size, 16, 3, 192, 768)
    grid = side // patch_size
    features = keras.ops.reshape(backbone.output[:, 1:], (-1, grid, grid, 192))
    return keras.Model(backbone.input, LinearDecoder(patch_size, 3)(features))


def _keras(model, task, engine, images, turns):
    """`engine` is the backend, `tensorflow_xla`, or with `_bare` behind it for a training without PSNR and SSIM."""
    import keras

    from keras_recon import metrics

    masked = task.startswith("mae")
    scores = [] if engine.endswith("_bare") else [metrics.PSNR()] if masked else [metrics.PSNR(), metrics.SSIM()]
    xla = "xla" in engine or ("auto" if "tensorflow" not in engine else False)
    model.compile(keras.optimizers.AdamW(1e-4), "mse", metrics=scores, jit_compile=xla)
    pair = (keras.ops.convert_to_tensor(images),) * 2
    data = (pair for _ in itertools.count())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensors(pair).repeat()
    after = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: turns(lambda: float(logs["loss"])))
    model.fit(data, steps_per_epoch=10**9, verbose=0, callbacks=[after])


def _vit_sizes(task):
    """Image size, patch size, the four sizes of encoder and decoder, mask ratio."""
    from keras_recon.models import ViTReconstructor

    side, patch_size, variant, mask_ratio = TASKS[task]
    sizes = ViTReconstructor.variants[variant]
    names = ("num_layers", "num_heads", "hidden_dim", "mlp_dim")
    return side, patch_size, [sizes[n] for n in names], [sizes[f"decoder_{n}"] for n in names], mask_ratio


def _torch_peer(task):
    import torch_peers

    if task.startswith("autoencoder"):
        config = _keras_recon(task).get_config()
        return torch_peers.ConvAutoencoder(config["filters"], config["num_blocks"], LATENT_DIM)
    side, patch_size, encoder, decoder, mask_ratio = _vit_sizes(task)
    return torch_peers.ViT(side, patch_size, LATENT_DIM, encoder, decoder, mask_ratio)


def _transformers(task):
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    side, patch_size, encoder, decoder, mask_ratio = _vit_sizes(task)
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
    sizes = dict(zip(names, encoder)) | dict(zip([f"decoder_{n}" for n in names], decoder))
    config = ViTMAEConfig(image_size=side, patch_size=patch_size, mask_ratio=mask_ratio, **sizes)

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = ViTMAEForPreTraining(config)

        def forward(self, images):
            return self.model(images.permute(0, 3, 1, 2)).loss

    return Loss()


def _torch(model, engine, dtype, images, turns):
    """`engine` is `eager` or `compile`."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    images = torch.from_numpy(images).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    loss_of = torch.compile(model) if engine == "compile" else model

    while True:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_of(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        turns(loss.item)


def counted_flops(task: str) -> int:
    """Floating-point operations of the matrix products of a training step, for one image."""
    if not task.startswith("autoencoder"):
        from masked_encoding import forward_flops

        return 3 * forward_flops(_keras_recon(task))
    import torch
    from torch.utils.flop_counter import FlopCounterMode  # it leaves out the attention of CPUs

    side = TASKS[task][0]
    with FlopCounterMode(display=False) as counter:
        _torch_peer(task)(torch.rand(2, side, side, 3)).backward()
    return counter.get_total_flops() // 2


class Turns:
    """Lets a training run for as many steps as a line of stdin says, and prints the seconds."""

    def __init__(self, output):
        self.output = output
        self.left = 0

    def __call__(self, wait):
        self.left -= 1
        if not self.left:
            wait()
            print(time.perf_counter() - self.start, file=self.output, flush=True)
            self.begin()

    def begin(self):
        self.left = int(sys.stdin.readline())
        self.start = time.perf_counter()


def main(task: str, contestant: str, dtype: str, batch: str):
    side = TASKS[task][0]
    images = np.random.default_rng(0).random((int(batch), side, side, 3), "float32")
    turns = Turns(sys.stdout)
    sys.stdout = sys.stderr
    turns.begin()
    train(task, contestant, dtype, images, turns)


if __name__ == "__main__":
    main(*sys.argv[1:])
