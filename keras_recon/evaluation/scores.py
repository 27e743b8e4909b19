"""Quality of models and of what they are compared with: PCA, the mean patch, the degraded input, and codecs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import keras
import numpy as np
import scipy.stats
from keras import ops

from keras_recon import metrics
from keras_recon.degradations import Degradation
from keras_recon.evaluation.rate import CODECS, RatePoint, at_bytes, coarsest, rate_curve, transmit
from keras_recon.features.perceptual import is_lpips, parse, perceptual_distance
from keras_recon.models import LinearReconstructor, Reconstructor
from keras_recon.ops import paste_visible

PATCH_SIZE = 8  # pixels, of systems without patches
BORDER_STEPS = ("steps across borders", "steps inside patches")  # see `metrics.border_steps`


def patch_size_of(model: keras.Model) -> int:
    """Return the side in pixels of a model's patches, and 8 for a model without a bottleneck."""
    return model.patch_size if isinstance(model, Reconstructor) else PATCH_SIZE


def image_scores(reconstruct: Callable, batches: Iterable, patch_size: int = PATCH_SIZE) -> dict[str, np.ndarray]:
    """Measure `reconstruct(degraded)` on each image of (degraded, clean) batches.

    Returns:
        Arrays (images,) by name: `psnr` in dB, `ssim` from 11x11 pixels on, `ms_ssim` from 161x161 on, and the
        `BORDER_STEPS` of patches.
    """
    scores = {}
    for degraded, clean in batches:
        degraded, clean = (ops.convert_to_tensor(np.asarray(images)) for images in (degraded, clean))
        outputs = reconstruct(degraded)
        values = {name: metric(clean, outputs) for name, metric in metrics.applicable(clean.shape[1:]).items()}
        if patch_size > 1:
            values |= zip(BORDER_STEPS, metrics.border_steps(outputs, patch_size))
        for name, of_batch in values.items():
            scores.setdefault(name, []).append(ops.convert_to_numpy(of_batch))
    return {name: np.concatenate(of_batches) for name, of_batches in scores.items()}


def evaluate(reconstruct: Callable, batches: Iterable, patch_size: int = PATCH_SIZE) -> dict[str, float]:
    """Average `image_scores` over images."""
    return means(image_scores(reconstruct, batches, patch_size))


def means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Average scores (images,) in float64; the `BORDER_STEPS` become their ratio, `border ratio`."""
    result = {name: float(values.mean(dtype="float64")) for name, values in scores.items()}
    across, inside = (result.pop(name, 0.0) for name in BORDER_STEPS)
    return {**result, **({"border ratio": across / inside} if across and inside else {})}


def over_seeds(of_seeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Average scores of equal shapes over seeds, by name."""
    return {name: np.mean([scores[name] for scores in of_seeds], axis=0) for name in of_seeds[0]}


def hidden_psnr(psnr: float, mask: np.ndarray) -> float:
    """Return the PSNR in dB on the pixels where `mask` is True, for images of PSNR `psnr` that are exact elsewhere."""
    return psnr + 10 * float(np.log10(mask.mean()))


def paired_interval(
    scores: np.ndarray, reference: np.ndarray, groups: np.ndarray, seed: int = 0
) -> tuple[float, float] | None:
    """Compute a 95 % interval of the mean of `scores - reference` by a paired percentile bootstrap over groups.

    Args:
        scores: (images,).
        reference: (images,), of the same images.
        groups: (images,), groups that are drawn together, because crops of one photo are not independent.
        seed: seed of the draws.

    Returns:
        (low, high); None for a single group.
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
        batch=1000,  # limits the memory
        method="percentile",  # the default, BCa, gives NaN if all differences are equal
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def fit_pca(model: keras.Model, training: Iterable) -> LinearReconstructor:
    """Fit PCA with the patches and latents of a `Reconstructor`; for other models with all values of 8x8 patches."""
    patch_size = patch_size_of(model)
    count = model.latent_dim if isinstance(model, Reconstructor) else patch_size**2 * model.image_shape[-1]
    pca = LinearReconstructor(model.image_shape, patch_size, count)
    pca.adapt(training)
    return pca


def mean_patch(pca: LinearReconstructor) -> Callable:
    """Return a reconstruction that maps every image to the mean training patch everywhere."""
    return lambda images: pca.decode(ops.zeros((len(images), *pca.latent_shape)))


def baselines(model: keras.Model, pca: LinearReconstructor, validation: Iterable) -> dict[str, dict[str, float]]:
    """Evaluate the baselines of a model: PCA, see `fit_pca`, and the mean training patch.

    A masked model has a harder task than PCA: its only baseline is the mean patch in place of hidden patches.
    """
    mean, patch_size = mean_patch(pca), patch_size_of(model)
    if model.is_masked:
        mean_in_hidden = lambda images: paste_visible(mean(images), images, model.fixed_mask)  # noqa: E731
        return {"mean": evaluate(mean_in_hidden, validation, patch_size)}
    return {name: evaluate(system, validation, patch_size) for name, system in (("pca", pca), ("mean", mean))}


@dataclass(frozen=True)
class Reference:
    """A row of a comparison that is not a model.

    Attributes:
        name: name of the row.
        row: its columns.
        remark: sentence on the row.
        rate: quality against bytes, dictionaries with `quality`, `bytes` and `psnr`.
        reconstruct: function from images to those of the row; None if there are none.
    """

    name: str
    row: dict
    remark: str
    rate: list[dict] = field(default_factory=list)
    reconstruct: Callable | None = None


def degraded_input(batches: list, degradation: Degradation | str) -> Reference:
    """Evaluate the degraded images of (degraded, clean) batches, which are not clipped."""
    remark = f"{', '.join(CODECS)}: left out, as they do not undo {degradation}."
    unchanged = lambda images: images  # noqa: E731
    return Reference("input", evaluate(unchanged, batches), remark, reconstruct=unchanged)


def codec_within(name: str, images: np.ndarray, batches: list, budget: float, best: str) -> Reference:
    """Evaluate a codec of `CODECS` at its greatest quality within a budget of bytes per image, that of a row `best`."""
    if name == "jpeg" and images.shape[-1] == 4:
        return Reference(name, {}, "jpeg: left out, because it has no fourth channel.")
    coded, curve = at_bytes(name, images, budget)
    rate = [point._asdict() for point in curve]
    if coded is None:
        row = {"bytes": round(curve[0].bytes)}
        return Reference(name, row, f"{name}: needs more than the bytes of {best} even at its lowest quality.", rate)
    decode = lambda images: transmit(images, name, coded.quality)[0]  # noqa: E731
    scores = evaluate(decode, batches)
    row = {**scores, "coded psnr": scores["psnr"], "bytes": round(coded.bytes), "quality": coded.quality}
    remark = f"{name}: quality {coded.quality}, the greatest within the bytes of {best}."
    return Reference(name, row, remark, rate, decode)


def perceptual_scores(reconstruct: Callable, batches: Iterable, preset: str) -> dict[str, np.ndarray]:
    """Compute perceptual distances of `reconstruct(degraded)` from the clean images of (degraded, clean) batches.

    Args:
        reconstruct: function of images.
        batches: (degraded, clean) images.
        preset: `PRESET` or `PRESET:1,3,5`, see `keras_recon.features.perceptual_distance`.

    Returns:
        `perceptual` (images,), and for a backbone `frechet` (), the `FrechetDistance` of all images by its last block.
    """
    preset, depths = parse(preset)
    frechet = None if is_lpips(preset) else metrics.FrechetDistance(preset)
    distances = []
    for degraded, clean in batches:
        outputs = reconstruct(ops.convert_to_tensor(np.asarray(degraded)))
        distances.append(ops.convert_to_numpy(perceptual_distance(clean, outputs, preset, depths)))
        if frechet:
            frechet.update_state(clean, outputs)
    scores = {"perceptual": np.concatenate(distances)}
    return scores | ({"frechet": ops.convert_to_numpy(frechet.result())} if frechet else {})


class System:
    """Scores of one or more models that differ only in their seed, averaged over the seeds.

    Args:
        models: models of each seed.
        batches: (degraded, clean) images.
        fitting: batches of other images, to which the coder of the latents is fitted, see `rate_curve`.

    Attributes:
        model: the first model.
        of_seeds: `image_scores` of each model.
        scores: their means over seeds, (images,) by name.
        rate: curve of quality against bytes; empty for a model that needs more than its latents.
        coded: point of the curve that is shown in the table, or None.
    """

    def __init__(self, models: list[keras.Model], batches: list, fitting: list[np.ndarray]):
        self.model = models[0]
        self.of_seeds = [image_scores(model, batches, patch_size_of(model)) for model in models]
        self.scores = over_seeds(self.of_seeds)
        self.rate, self.coded = [], None
        if isinstance(self.model, Reconstructor) and self.model.decodes_latents:
            curves = [rate_curve(model, batches, fitting) for model in models]
            self.rate = [RatePoint(of_step[0].step, *np.mean(of_step, axis=0)[1:].tolist()) for of_step in zip(*curves)]
            self.coded = coarsest(self.rate, means(self.scores)["psnr"])

    def row(self) -> dict:
        """Return the columns of the table."""
        row = means(self.scores)
        if self.coded:
            row |= {"bytes": round(self.coded.bytes), "coded psnr": self.coded.psnr, "step": self.coded.step}
        if len(self.of_seeds) > 1:
            psnr = [scores["psnr"].mean(dtype="float64") for scores in self.of_seeds]
            row |= {"seeds": len(psnr), "spread": float(np.std(psnr, ddof=1))}
        return row
