"""How time and memory of a training step grow, and the exponent beside that of what they should cost.

That is the operations counted for the ViT and, up to a factor, weights times pixels for the convolutions. One quantity
grows at a time: the side of the images, the depth, the latent values of a patch; each size in a process of its own. The
exponent is the slope of a line through the logarithms.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from keras_recon.utils.environment import environment
from keras_recon.utils.files import write_json
from keras_recon.utils.tables import results_table

GROWING = {
    "vit, image side": ("vit", "side", [64, 128, 256, 512]),
    "autoencoder, image side": ("autoencoder", "side", [64, 128, 256, 512, 1024]),
    "vit, layers": ("vit", "num_layers", [2, 4, 8, 16, 32]),
    "vit, latent values of a patch": ("vit", "latent_dim", [3, 12, 48, 192]),
}


def one(model: str, name: str, value: int):
    """Print seconds and MiB of a training step, and what it should cost."""
    from masked_encoding import forward_flops

    from keras_recon.models import ConvAutoencoder, ViTReconstructor

    side = value if name == "side" else 64
    options = {} if name == "side" else {name: value}
    make = ConvAutoencoder if model == "autoencoder" else ViTReconstructor
    network = make.from_variant("micro", image_shape=(side, side, 3), **options)
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
    cost = forward_flops(network) if model == "vit" else network.count_params() * side**2
    row = {"seconds an image": float(np.median(times)) / batch, "peak MiB of the process": peak}
    print(json.dumps({**row, "expected cost": cost, "batch": batch}))


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of the power that fits best, by the larger half of the sizes, where constant costs matter least."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(values[half - 1 :]), 1)[0])


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growing", nargs="+", default=list(GROWING), choices=GROWING)
    parser.add_argument("--output", default="growth.json")
    args = parser.parse_args(argv)
    results = {}
    for title in args.growing:
        model, name, sizes = GROWING[title]
        rows = {}
        for size in sizes:
            command = [sys.executable, __file__, "--one", model, name, str(size)]
            output = subprocess.run(command, capture_output=True, text=True, check=True)
            rows[str(size)] = json.loads(output.stdout.splitlines()[-1])
        exponents = {
            column: exponent(sizes, [row[column] for row in rows.values()])
            for column in ("seconds an image", "expected cost")
        }
        results[title] = {"rows": rows, "exponents": exponents}
        print(f"\n{title}\n{results_table(rows)}")
        print("exponents: " + ", ".join(f"{value:.2f} of {column}" for column, value in exponents.items()))
        write_json(args.output, {"results": results, "protocol": {**vars(args), **environment()}})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:4], int(sys.argv[4]))
    else:
        main()
