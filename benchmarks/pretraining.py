"""What pretraining is worth: a system trained at 224x224, a latent value for 16, with the Kodak PSNR of each epoch.

On the JAX backend, photos stay on the device; TensorFlow is not needed. All systems have the same lapped linear path,
convolutional decoder, refiner, crops and settings; they differ in their encoder.
"""

import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
from arguments import Parser, positive
from gpu_crops import pair_batches, tiles_of
from gpu_degradations import same
from PIL import Image

SIDE, TILE = 224, 256
FILTERS = (32, 64, 128, 256)  # of stem, autoencoder and decoder: 2^4 pixels a patch
LATENT_DIM = 48  # of 768 values of a patch
EARLY = (1, 2, 3)


def _pretrained(preset: str, cls=None, **kwargs):
    from keras_recon.models import PretrainedViTReconstructor

    decoder = {"decoder": "conv", "decoder_hidden_dim": FILTERS[-1], "decoder_num_layers": 1}
    return (cls or PretrainedViTReconstructor).from_preset(
        preset, image_shape=(SIDE, SIDE, 3), latent_dim=LATENT_DIM, **{**decoder, **kwargs}
    )


def _noisy(preset: str, **kwargs):
    """With noise on the latents in training, a tenth of their standard deviation."""
    import keras

    from keras_recon.models import PretrainedViTReconstructor

    class Noisy(PretrainedViTReconstructor):
        def build(self, input_shape):
            self.noise = keras.layers.GaussianNoise(0.1)
            super().build(input_shape)

        def encode(self, images, training=None, *, patch_mask=None):
            return self.noise(super().encode(images, training, patch_mask=patch_mask), training=training)

    return _pretrained(preset, cls=Noisy, **kwargs)


def _autoencoder(preset: str):
    from keras_recon.models import ConvAutoencoder

    return ConvAutoencoder((SIDE, SIDE, 3), FILTERS, LATENT_DIM, normalization="group")


def _pca(preset: str):
    from keras_recon.models import LinearReconstructor

    return LinearReconstructor((SIDE, SIDE, 3), patch_size=2 ** len(FILTERS), latent_dim=LATENT_DIM)


random = partial(_pretrained, load_weights=False)
SYSTEMS = {  # and the learning rate of their backbone, as a share of the other layers'
    "pca": (_pca, 0.0),
    "autoencoder": (_autoencoder, 0.0),
    "pretrained": (_pretrained, 0.1),
    "random": (random, 0.3),
    "pretrained, stem": (partial(_pretrained, stem_filters=FILTERS), 0.1),
    "random, stem": (partial(random, stem_filters=FILTERS), 0.3),
    "pretrained, stem, frozen": (partial(_pretrained, stem_filters=FILTERS, strategy="frozen"), 0.0),
    "random, stem, frozen": (partial(random, stem_filters=FILTERS, strategy="frozen"), 0.0),
    "pretrained, stem, early": (partial(_pretrained, stem_filters=FILTERS, feature_layers=EARLY), 0.1),
    "pretrained, stem, noise": (partial(_noisy, stem_filters=FILTERS), 0.1),
}


def pixels_of(folder: str) -> list[np.ndarray]:
    """The photos of a folder (height, width, 3), in an order that does not depend on their names."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    order = np.random.default_rng(0).permutation(len(paths))
    return [np.asarray(Image.open(paths[i]).convert("RGB")) for i in order]


def grid(photos: list[np.ndarray], stride: int) -> np.ndarray:
    """Crops of SIDE pixels in [0, 1], at every `stride` pixels."""
    crops = [
        photo[y : y + SIDE, x : x + SIDE]
        for photo in photos
        for y in range(0, photo.shape[0] - SIDE + 1, stride)
        for x in range(0, photo.shape[1] - SIDE + 1, stride)
    ]
    return np.stack(crops) / np.float32(255)


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("photos", help="folder to train on, searched recursively")
    parser.add_argument("--eval", required=True, help="folder of other photos, such as Kodak's")
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--preset", required=True, help="of the backbone, patches of 16 pixels")
    parser.add_argument("--count", type=positive, help="of the photos to train on (default: all)")
    parser.add_argument("--steps-per-epoch", type=positive, default=100)
    parser.add_argument("--epochs", type=positive, default=20)
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--stride", type=positive, default=48, help="between crops of the last evaluation")
    parser.add_argument("--metrics", nargs="*", default=[], help="perceptual:PRESET:2,4,6, frechet:PRESET and the like")
    parser.add_argument("--output", required=True, help="JSON file")
    args = parser.parse_args(argv)
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several trainings share a GPU
    import jax
    import keras
    from perceptual import measure

    from keras_recon.callbacks import SwapEMAWeights
    from keras_recon.training.compile import compile_model
    from keras_recon.training.options import TrainingOptions

    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.precision)
    start = time.time()
    tiles = [tile for photo in pixels_of(args.photos)[: args.count] for tile in tiles_of(photo, TILE)]
    tiles = jax.device_put(np.stack(tiles))
    photos = pixels_of(args.eval)
    build, scale = SYSTEMS[args.system]
    model = build(args.preset)
    batches = partial(pair_batches, tiles, SIDE, args.batch_size, same)
    model.adapt(pair for pair, _ in zip(batches(1), range(64)))
    logs = []

    def log(epoch, values):
        logs.append({"seconds": round(time.time() - start, 1), **{k: round(float(v), 4) for k, v in values.items()}})
        print(json.dumps({"system": args.system, "count": args.count, "epoch": epoch, **logs[-1]}), flush=True)

    if args.system != "pca":
        options = TrainingOptions(
            batch_size=args.batch_size,
            epochs=args.epochs,
            steps_per_epoch=args.steps_per_epoch,
            learning_rate=args.learning_rate,
            backbone_scale=scale,
        )
        compile_model(model, options)
        crops = grid(photos, SIDE)
        model.fit(
            batches(2),
            validation_data=(crops, crops),
            validation_batch_size=48,
            epochs=args.epochs,
            steps_per_epoch=args.steps_per_epoch,
            verbose=0,
            callbacks=[SwapEMAWeights(), keras.callbacks.LambdaCallback(on_epoch_end=log)],
        )
    crops = grid(photos, args.stride)
    outputs = model.predict(crops, batch_size=48, verbose=0)
    log("last", measure(outputs, crops, args.metrics))
    facts = {"parameters": model.count_params(), "tiles": len(tiles), "crops": len(crops)}
    with open(args.output, "w") as file:
        json.dump({**vars(args), **facts, "logs": logs}, file, indent=1)


if __name__ == "__main__":
    main()
