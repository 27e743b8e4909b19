"""Rows of a comparison that are no models: the degraded input, and codecs at as many bytes as the best model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.stats
from keras import ops

from keras_recon import metrics
from keras_recon.degradations import Degradation
from keras_recon.evaluation.rate import CODECS, RatePoint, at_bytes, coarsest, rate_curve, transmit
from keras_recon.features.perceptual import is_lpips, parse, perceptual_distance
from keras_recon.metrics import FrechetDistance
from keras_recon.models import LinearReconstructor, Reconstructor
from keras_recon.ops import paste_visible

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


def fit_pca(model: Reconstructor, training: Iterable) -> LinearReconstructor:
    """PCA with the patches and the number of latent values of `model`, fitted to batches, see `Reconstructor.adapt`."""
    pca = LinearReconstructor(model.image_shape, model.patch_size, model.latent_dim)
    pca.adapt(training)
    return pca


def mean_patch(pca: LinearReconstructor) -> Callable:
    """A reconstruction that answers every image with the mean training patch everywhere."""
    return lambda images: pca.decode(ops.zeros((len(images), *pca.latent_shape)))


def baselines(model: Reconstructor, pca: LinearReconstructor, validation: Iterable) -> dict[str, dict[str, float]]:
    """What `model` has to beat: PCA, see `fit_pca`, and the mean training patch.

    Of a masked model, which answers a harder question than PCA, only the mean patch, in place of what is hidden.
    """
    mean = mean_patch(pca)
    if model.is_masked:
        mean_in_hidden = lambda images: paste_visible(mean(images), images, model.fixed_mask)  # noqa: E731
        return {"mean": evaluate(mean_in_hidden, validation, model.patch_size)}
    return {name: evaluate(system, validation, model.patch_size) for name, system in (("pca", pca), ("mean", mean))}


@dataclass(frozen=True)
class Reference:
    """A row's name, columns, and the sentence that they need.

    Attributes:
        rate: quality against bytes, dictionaries with `quality`, `bytes` and `psnr`.
        reconstruct: from images to what the row is of; None where there is nothing.
    """

    name: str
    row: dict
    remark: str
    rate: list[dict] = field(default_factory=list)
    reconstruct: Callable | None = None


def degraded_input(batches: list, degradation: Degradation | str) -> Reference:
    """The degraded images of (degraded, clean) batches themselves, not clipped."""
    remark = f"{', '.join(CODECS)}: left out, as they do not undo {degradation}."
    return Reference("input", evaluate(_as_it_is, batches), remark, reconstruct=_as_it_is)


def codec_within(name: str, images: np.ndarray, batches: list, budget: float, best: str) -> Reference:
    """A codec of `CODECS` at its greatest quality within a budget of bytes per image, those of the row `best`."""
    if name == "jpeg" and images.shape[-1] == 4:
        return Reference(name, {}, "jpeg: it has no fourth channel.")
    coded, curve = at_bytes(name, images, budget)
    rate = [point._asdict() for point in curve]
    if coded is None:
        row = {"bytes": round(curve[0].bytes)}
        return Reference(name, row, f"{name}: needs more than the bytes of {best} even at its lowest quality.", rate)
    decode = partial(_transmitted, codec=name, quality=coded.quality)
    scores = evaluate(decode, batches)
    row = {**scores, "coded psnr": scores["psnr"], "bytes": round(coded.bytes), "quality": coded.quality}
    remark = f"{name}: quality {coded.quality}, the greatest within the bytes of {best}."
    return Reference(name, row, remark, rate, decode)


def _as_it_is(images):
    return images


def _transmitted(images, codec, quality):
    return transmit(images, codec, quality)[0]


def perceptual_scores(reconstruct: Callable, batches: Iterable, preset: str) -> dict[str, np.ndarray]:
    """How far `reconstruct(degraded)` is from the clean image for a frozen network, over (degraded, clean) batches.

    Args:
        preset: `PRESET` or `PRESET:1,3,5`, see `keras_recon.features.perceptual_distance`.

    Returns:
        `perceptual` (images,), and for a backbone `frechet` (), the `FrechetDistance` of all images by its last block.
    """
    preset, depths = parse(preset)
    frechet = None if is_lpips(preset) else FrechetDistance(preset)
    distances = []
    for degraded, clean in batches:
        outputs = reconstruct(ops.convert_to_tensor(np.asarray(degraded)))
        distances.append(ops.convert_to_numpy(perceptual_distance(clean, outputs, preset, depths)))
        if frechet:
            frechet.update_state(clean, outputs)
    scores = {"perceptual": np.concatenate(distances)}
    return scores | ({"frechet": ops.convert_to_numpy(frechet.result())} if frechet else {})


class System:
    """One or more models, equal up to the seed, on the same (degraded, clean) batches; means over the seeds.

    Args:
        models: of each seed.
        batches: what they are measured on.
        fitting: batches of other images, for what their latents cost, see `rate_curve`.

    Attributes:
        model: the first.
        of_seeds: `image_scores` of each model.
        scores: PSNR, SSIM ... (images,) by name.
        rate: its curve; empty for a model that needs more than its latents.
        coded: the point of the curve that stands in the table, or None.
    """

    def __init__(self, models: list[Reconstructor], batches: list, fitting: list[np.ndarray]):
        self.model = models[0]
        self.of_seeds = [image_scores(model, batches, model.patch_size) for model in models]
        self.scores = over_seeds(self.of_seeds)
        self.rate, self.coded = [], None
        if self.model.decodes_latents:
            curves = [rate_curve(model, batches, fitting) for model in models]
            self.rate = [RatePoint(of_step[0].step, *np.mean(of_step, axis=0)[1:].tolist()) for of_step in zip(*curves)]
            self.coded = coarsest(self.rate, means(self.scores)["psnr"])

    def row(self) -> dict:
        """Its columns of the table."""
        row = means(self.scores)
        if self.coded:
            row |= {"bytes": round(self.coded.bytes), "coded psnr": self.coded.psnr, "step": self.coded.step}
        if len(self.of_seeds) > 1:
            psnr = [scores["psnr"].mean(dtype="float64") for scores in self.of_seeds]
            row |= {"seeds": len(psnr), "spread": float(np.std(psnr, ddof=1))}
        return row
