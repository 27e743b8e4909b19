"""Measure how much faster a training step gets when the encoder sees visible patches only."""

import time

import keras
import numpy as np
from arguments import Parser, positive

from keras_recon.models import ViTReconstructor
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table


def transformer_flops(tokens: int, num_layers: int, hidden_dim: int, mlp_dim: int) -> int:
    """Floating-point operations of the matrix products in transformer blocks, two for each multiplication."""
    projections = 4 * hidden_dim * hidden_dim  # queries, keys, values, output
    attention = 2 * tokens * hidden_dim  # logits, weighted values
    return 2 * tokens * num_layers * (projections + attention + 2 * hidden_dim * mlp_dim)


def forward_flops(model: ViTReconstructor) -> int:
    """Floating-point operations of the matrix products that one image takes forward; a training step takes thrice."""
    rows, columns, latent_dim = model.latent_shape
    patches, visible = rows * columns, model.num_visible
    values = model.patch_size**2 * model.image_shape[-1]
    flops = 2 * patches * values * model.hidden_dim  # all patches are embedded
    flops += transformer_flops(visible, model.num_layers, model.hidden_dim, model.mlp_dim)
    flops += 2 * visible * model.hidden_dim * latent_dim
    flops += 2 * patches * latent_dim * model.decoder_hidden_dim
    sizes = (model.decoder_num_layers, model.decoder_hidden_dim, model.decoder_mlp_dim)
    flops += transformer_flops(patches, *sizes)
    flops += 2 * patches * model.decoder_hidden_dim * values
    if model.linear_path:
        flops += 2 * visible * values * latent_dim + 2 * patches * latent_dim * values
    return flops


def step_seconds(models: dict, images: np.ndarray, rounds: int, steps: int) -> dict[float, float]:
    """Median seconds of a training step by mask ratio; the models take turns, so that other load falls on all."""
    batches = {}
    for ratio, model in models.items():
        model.compile("adam", "mse", jit_compile=keras.backend.backend() != "torch")
        model.train_on_batch(images, images)  # compiles
        batches[ratio] = []
    for _ in range(rounds):
        for ratio, model in models.items():
            start = time.perf_counter()
            for _ in range(steps):
                model.train_on_batch(images, images)  # waits for the loss
            batches[ratio].append((time.perf_counter() - start) / steps)
    return {ratio: float(np.median(seconds)) for ratio, seconds in batches.items()}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--variant", default="micro", choices=ViTReconstructor.variants, help="(default: micro)")
    parser.add_argument("--image-size", type=positive, default=64, help="pixels (default: 64)")
    parser.add_argument("--patch-size", type=positive, default=8, help="pixels (default: 8)")
    parser.add_argument("--latent-dim", type=positive, default=48, help="latent values per patch (default: 48)")
    parser.add_argument(
        "--mask-ratios", type=float, nargs="+", default=[0.0, 0.5, 0.75, 0.9], help="0 is the reference"
    )
    parser.add_argument("--batch-size", type=positive, default=32, help="images (default: 32)")
    parser.add_argument("--rounds", type=positive, default=9, help="turns, whose median is reported (default: 9)")
    parser.add_argument("--steps", type=positive, default=4, help="steps in a turn (default: 4)")
    parser.add_argument("--output", default="masked_encoding.json", help="JSON file (default: masked_encoding.json)")
    arguments = parser.parse_args(argv)
    shape = (arguments.image_size, arguments.image_size, 3)
    options = {"image_shape": shape, "patch_size": arguments.patch_size, "latent_dim": arguments.latent_dim}
    options["linear_path"] = True  # as a masked model has it
    try:
        models = {
            ratio: ViTReconstructor.from_variant(arguments.variant, **options, mask_ratio=ratio)
            for ratio in dict.fromkeys([0.0, *arguments.mask_ratios])
        }
    except ValueError as error:
        parser.error(str(error))
    images = np.random.default_rng(0).random((arguments.batch_size, *shape), "float32")
    seconds = step_seconds(models, images, arguments.rounds, arguments.steps)
    flops = {ratio: forward_flops(model) for ratio, model in models.items()}
    results = {
        f"{ratio:g}": {
            "visible patches": model.num_visible,
            "images per second": arguments.batch_size / seconds[ratio],
            "speed": seconds[0.0] / seconds[ratio],
            "expected": flops[0.0] / flops[ratio],
            "MFLOP per image": 3 * flops[ratio] / 1e6,
        }
        for ratio, model in models.items()
    }
    protocol = {
        **vars(arguments),
        "speed": "of a training step, as a multiple of that without a mask",
        "expected": "from the floating-point operations of matrix products, forward and backward",
        "order": "the models took turns; medians",
        **environment(),
    }
    write_json(arguments.output, {"results": results, "protocol": protocol})
    print(results_table(results))


if __name__ == "__main__":
    main()
