from collections.abc import Callable, Iterable

import numpy as np
import scipy.stats
from keras import ops

from keras_recon import metrics

BORDER_STEPS = ("steps across borders", "steps inside patches")  # see `metrics.border_steps`


def image_scores(reconstruct: Callable, batches: Iterable, patch_size: int = 8) -> dict[str, np.ndarray]:
    """Quality of `reconstruct(degraded)` for each image of (degraded, clean) batches, arrays (images,) by name.

    `psnr` in dB; `ssim` for images of at least 11x11 pixels; `ms_ssim` from 161x161 on; the `BORDER_STEPS` of patches.
    """
    scores = {}
    for degraded, clean in batches:
        degraded, clean = (ops.convert_to_tensor(np.asarray(images)) for images in (degraded, clean))
        outputs = reconstruct(degraded)
        for name, metric in metrics.applicable(clean.shape[1:]).items():
            scores.setdefault(name, []).append(ops.convert_to_numpy(metric(clean, outputs)))
        if patch_size > 1:
            for name, steps in zip(BORDER_STEPS, metrics.border_steps(outputs, patch_size)):
                scores.setdefault(name, []).append(ops.convert_to_numpy(steps))
    return {name: np.concatenate(values) for name, values in scores.items()}


def evaluate(reconstruct: Callable, batches: Iterable, patch_size: int = 8) -> dict[str, float]:
    """The means over images of `image_scores`."""
    return means(image_scores(reconstruct, batches, patch_size))


def means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Scores (images,) by name, averaged in float64; of the `BORDER_STEPS` their ratio, `border ratio`."""
    result = {name: float(values.mean(dtype="float64")) for name, values in scores.items()}
    across, inside = (result.pop(name, 0.0) for name in BORDER_STEPS)
    return {**result, **({"border ratio": across / inside} if across and inside else {})}


def over_seeds(of_seeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores by name, of equal shapes, averaged over the seeds."""
    return {name: np.mean([scores[name] for scores in of_seeds], axis=0) for name in of_seeds[0]}


def hidden_psnr(psnr: float, mask: np.ndarray) -> float:
    """PSNR in dB on the pixels where `mask` is True, of images that are right elsewhere and have `psnr` as a whole."""
    return psnr + 10 * float(np.log10(mask.mean()))


def paired_interval(
    scores: np.ndarray, reference: np.ndarray, groups: np.ndarray, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the mean of `scores - reference` by a paired percentile bootstrap over groups of images.

    Args:
        scores, reference: (images,), of the same images.
        groups: (images,), what belongs together and is drawn together: crops of one photo are not independent.
        seed: of the draws.

    Returns:
        (low, high); None for a single group, which tells nothing about others.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, weights=scores - reference), np.bincount(group)
    if len(counts) < 2:
        return None
    interval = scipy.stats.bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        batch=1000,  # of the draws, for the memory
        method="percentile",  # BCa, the default, gives NaN where all differences are equal
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
