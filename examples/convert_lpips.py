"""Write the weights of LPIPS from PyTorch's files to one that keras_recon reads, and that holds no code."""

import argparse
import re
from pathlib import Path

import numpy as np


def read(paths: list[str]) -> dict[str, np.ndarray]:
    """The arrays of all state dicts under the names of `keras_recon.features.LPIPS.from_file`."""
    import torch

    arrays = {}
    for path in paths:
        for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items():
            name = re.sub(r"^net\.slice\d\.", "features.", name)  # as the package `lpips` has torchvision's layers
            if re.fullmatch(r"features\.\d+\.(weight|bias)|lin\d\.model\.1\.weight", name):
                arrays[name] = tensor.float().contiguous().numpy()
    return arrays


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "weights",
        nargs="+",
        help="the state dict of lpips.LPIPS(net='alex'); or that of torchvision's alexnet or vgg16, and "
        "lpips/weights/v0.1/alex.pth or vgg.pth of the package",
    )
    parser.add_argument("--output", required=True, help="a .safetensors or .npz file")
    args = parser.parse_args(argv)
    arrays, suffix = read(args.weights), Path(args.output).suffix
    if suffix == ".npz":
        np.savez(args.output, **arrays)
    elif suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, args.output)
    else:
        parser.error(f"--output must end in .safetensors or .npz. Received: {args.output}")


if __name__ == "__main__":
    main()
