"""What a comparison is measured on."""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from app.parser import printable


class Evaluated(NamedTuple):
    """Images to evaluate on, with what is wrong with them and without, and the number of the photo of each.

    What they are, and what their groups are, in words.
    """

    inputs: np.ndarray
    images: np.ndarray
    groups: np.ndarray
    crops: str
    unit: str


def photos_of(args: argparse.Namespace, shape: tuple[int, int, int], paired: bool) -> Evaluated:
    """The crops of --eval, photos or pairs."""
    from keras_recon.data.crops import part_grids
    from keras_recon.data.loading import all_photos

    photos = all_photos(args.eval, args.eval_target, shape[2], on_bad="skip").for_upscale(1)
    if paired != photos.is_paired:
        kind = "pairs, as input/ and target/ in it or --eval-target" if paired else "photos, not pairs"
        raise ValueError(f"--eval must have {kind}, as the data of the runs. Received: {args.eval}")
    grids = list(part_grids(photos, shape[:2], args.stride))
    if photos.bad:
        print(
            f"warning: {len(photos.bad)} photos could not be used: {printable(', '.join(photos.bad))}", file=sys.stderr
        )
    parts = [np.concatenate(part) for part in zip(*grids)]
    groups = np.repeat(np.arange(len(grids)), [len(grid[0]) for grid in grids])
    source = f"{len(grids)} photos in {args.eval}, every {args.stride} pixels"
    return Evaluated(parts[0], parts[-1], groups, f"{crops(parts[-1])} of {source}", "photos")


def validation_crops(validation: list) -> Evaluated:
    """The crops of the validation batches."""
    inputs, images = map(np.concatenate, zip(*validation))
    source = "the validation photos, by which the weights of the best epoch were chosen"
    return Evaluated(inputs, images, np.arange(len(images)), f"{crops(images)} of {source}", "crops")


def crops(images: np.ndarray) -> str:
    """How many images there are, of what size, in words."""
    return f"{len(images)} crops of {images.shape[1]}x{images.shape[2]} pixels"
