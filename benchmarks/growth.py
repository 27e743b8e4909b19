"""How time and memory of a training step grow, and the exponent beside that of what they should cost.

That is the operations counted for the ViT and, up to a factor, weights times pixels for the convolutions. One quantity
grows at a time: the side of the images, the depth, the latent values of a patch; each size in a process of its own. The
exponent is the slope of a line through the logarithms.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from arguments import Parser
from masked_encoding import forward_flops
from processes import answer

from keras_recon.models import ConvAutoencoder, Reconstructor, ViTReconstructor
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import environment, results_table


class Growing(NamedTuple):
    """What a title runs: the model of variant `micro` for 64x64 whose `quantity` grows, and what a step should cost."""

    model: type[Reconstructor]
    quantity: str
    cost: Callable
    sizes: list[int]

    def network(self, size: int) -> Reconstructor:
        options = {"image_shape": (size, size, 3)} if self.quantity == "side" else {self.quantity: size}
        return self.model.from_variant("micro", **options)


def weights_times_pixels(model: ConvAutoencoder) -> int:
    return model.count_params() * model.image_shape[0] * model.image_shape[1]


GROWING = {
    "vit, image side": Growing(ViTReconstructor, "side", forward_flops, [64, 128, 256, 512]),
    "autoencoder, image side": Growing(ConvAutoencoder, "side", weights_times_pixels, [64, 128, 256, 512, 1024]),
    "vit, layers": Growing(ViTReconstructor, "num_layers", forward_flops, [2, 4, 8, 16, 32]),
    "vit, latent values of a patch": Growing(ViTReconstructor, "latent_dim", forward_flops, [3, 12, 48, 192]),
}


def one(title: str, size: int):
    """Print seconds and MiB of a training step, what it should cost, and what `ran`."""
    growing = GROWING[title]
    network = growing.network(size)
    side = network.image_shape[0]
    network.compile("adamw", "mse")
    batch = max(1, 32 * 64**2 // side**2)
    images = np.random.default_rng(0).random((batch, side, side, 3), "float32")
    network.train_on_batch(images, images)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        network.train_on_batch(images, images)
        times.append(time.perf_counter() - start)
    # Not by `getrusage`, whose maximum a process inherits from the one that began it.
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    row = {"seconds an image": float(np.median(times)) / batch, "peak MiB of the process": peak}
    ran = {"model": type(network).__name__, growing.quantity: {"side": side, **network.get_config()}[growing.quantity]}
    print(json.dumps({"row": {**row, "expected cost": growing.cost(network), "batch": batch}, "ran": ran}))


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of the power that fits best, by the larger half of the sizes, where constant costs matter least."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(values[half - 1 :]), 1)[0])


def measure(title: str, size: int) -> dict:
    """What `one` prints, in a process of its own."""
    return answer("growth", "one", (title, size))


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--growing", nargs="+", default=list(GROWING), choices=GROWING)
    parser.add_argument("--output", default="growth.json")
    args = parser.parse_args(argv)
    results = {}
    for title in args.growing:
        sizes = GROWING[title].sizes
        measured = {str(size): measure(title, size) for size in sizes}
        rows = {size: each["row"] for size, each in measured.items()}
        exponents = {
            column: exponent(sizes, [row[column] for row in rows.values()])
            for column in ("seconds an image", "expected cost")
        }
        results[title] = {"rows": rows, "ran": [each["ran"] for each in measured.values()], "exponents": exponents}
        print(f"\n{title}\n{results_table(rows)}")
        print("exponents: " + ", ".join(f"{value:.2f} of {column}" for column, value in exponents.items()))
        write_json(args.output, {"results": results, "protocol": {**vars(args), **environment()}})


if __name__ == "__main__":
    main()
