from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from keras import ops

from keras_recon.features.lpips import SUFFIXES
from keras_recon.features.perceptual import parse, perceptual_distance
from keras_recon.metrics import FrechetDistance


def perceptual_scores(reconstruct: Callable, batches: Iterable, preset: str) -> dict[str, np.ndarray]:
    """How far `reconstruct(degraded)` is from the clean image for a frozen network, over (degraded, clean) batches.

    Args:
        preset: `PRESET` or `PRESET:1,3,5`, see `keras_recon.features.perceptual_distance`.

    Returns:
        `perceptual` (images,), and for a backbone `frechet` (), the `FrechetDistance` of all images by its last block.
    """
    preset, depths = parse(preset)
    frechet = None if Path(preset).suffix in SUFFIXES else FrechetDistance(preset)
    distances = []
    for degraded, clean in batches:
        outputs = reconstruct(ops.convert_to_tensor(np.asarray(degraded)))
        distances.append(ops.convert_to_numpy(perceptual_distance(clean, outputs, preset, depths)))
        if frechet:
            frechet.update_state(clean, outputs)
    scores = {"perceptual": np.concatenate(distances)}
    return scores | ({"frechet": ops.convert_to_numpy(frechet.result())} if frechet else {})
