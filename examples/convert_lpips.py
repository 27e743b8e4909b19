"""Write the weights of LPIPS, which are PyTorch's files, to one that keras_recon reads and that can hold no code."""

import re
from pathlib import Path

from app.extras import require
from app.parser import Parser, fail
from app.quiet import quiet_start

NAMES = r"features\.\d+\.(weight|bias)|lin\d\.model\.1\.weight"


def read(path: str) -> dict:
    """The arrays of a state dict under the names of `keras_recon.features.LPIPS.from_file`."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises on other files, or on code in them, is of many types
        fail(f"WEIGHTS must be PyTorch's file of a state dict. Received: {path} ({str(error).splitlines()[0]})")
    # As the package `lpips` has torchvision's layers.
    named = {re.sub(r"^net\.slice\d\.", "features.", name): tensor for name, tensor in state.items()}
    return {name: tensor.float().numpy() for name, tensor in named.items() if re.fullmatch(NAMES, name)}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    text = (
        "of lpips.LPIPS(net='alex') or 'vgg'; or of torchvision's network, and lpips/weights/v0.1/alex.pth or vgg.pth"
    )
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS", help=f"files of state dicts: {text}")
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors or .npz file")
    args = parser.parse_args(argv)
    if args.output.suffix not in (".safetensors", ".npz"):
        fail(f"--output must end in .safetensors or .npz. Received: {args.output}")
    require("torch", "torch")
    arrays = {name: array for path in args.weights for name, array in read(path).items()}
    with quiet_start():  # after PyTorch, which can crash behind TensorFlow
        import numpy as np
        from safetensors.numpy import save_file

        from keras_recon.features import LPIPS
        from keras_recon.utils.files import replacing
    try:
        with replacing(args.output) as temporary:
            if args.output.suffix == ".npz":
                np.savez(temporary, **arrays)
            else:
                save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
            network = LPIPS.from_file(temporary).network
    except (OSError, ValueError) as error:
        fail(error)
    print(f"{args.output}: LPIPS of the network {network!r}")


if __name__ == "__main__":
    main()
