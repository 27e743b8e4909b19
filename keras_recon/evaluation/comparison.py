"""Comparison of models on the same images, and verdicts on claims from measured numbers only."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_recon.degradations import Degradation, degrade
from keras_recon.evaluation.rate import CODECS, bd_rate
from keras_recon.evaluation.scores import (
    System,
    codec_within,
    degraded_input,
    evaluate,
    fit_pca,
    mean_patch,
    means,
    over_seeds,
    paired_interval,
    patch_size_of,
    perceptual_scores,
)
from keras_recon.models import Reconstructor
from keras_recon.saving import load_model
from keras_recon.utils.run import Run, data_of

AUTOENCODER, PRETRAINED, SCRATCH = "ConvAutoencoder", "PretrainedViTReconstructor", "ViTReconstructor"
RANDOM = "random weights"  # a pretrained ViT's architecture without its weights


class Curve(NamedTuple):
    """A training run at its validations, arrays (validations,): steps and seconds so far, mean PSNR in dB."""

    steps: np.ndarray
    seconds: np.ndarray
    psnr: np.ndarray

    @classmethod
    def of(cls, run: Run) -> "Curve":
        """Read the log of a finished run."""
        epochs = run.epochs()
        steps = (np.arange(len(epochs)) + 1) * run.config["steps_per_epoch"]
        seconds = np.cumsum([epoch["seconds"] for epoch in epochs])
        return cls(steps, seconds, np.array([epoch["val_psnr"] for epoch in epochs]))


class Entry(NamedTuple):
    """A trained system: label, class name of its model or `RANDOM`, PSNR (images,), a curve per seed, and distance."""

    label: str
    system: str
    psnr: np.ndarray
    curves: list[Curve]
    perceptual: np.ndarray | None = None  # (images,)


class Verdict(NamedTuple):
    """A claim, what the numbers say about it (`"supported"`, `"refuted"` or `"not decided"`), and the numbers."""

    claim: str
    verdict: str
    figures: str


def verdicts(entries: list[Entry], pca_psnr: np.ndarray, interval: Callable) -> list[Verdict]:
    """Judge claims by the row of each system with the best mean PSNR, if all systems of the claim have a row.

    One system is faster than another if its slowest seed reaches a level before the other's fastest. The level is the
    lowest of the best validation PSNRs of the compared runs, so that all of them reach it.

    Args:
        entries: the trained systems.
        pca_psnr: PSNR of PCA, (images,).
        interval: `interval(scores, reference)`, the (low, high) of the mean difference, or None.
    """
    best = {}
    for entry in sorted(entries, key=lambda entry: entry.psnr.mean()):
        best[entry.system] = entry

    looks = partial(_best, looks=True)
    claims = [
        (
            "The autoencoder is an efficient baseline (above PCA, and sooner at a level than the ViT from scratch)",
            partial(_efficient, pca_psnr),
            (AUTOENCODER, SCRATCH),
        ),
        ("The pretrained ViT reconstructs best", _best, (PRETRAINED, AUTOENCODER, SCRATCH)),
        ("The pretrained ViT looks best (perceptual distance)", looks, (PRETRAINED, AUTOENCODER, SCRATCH)),
        ("Pretrained weights reconstruct better than random ones", _best, (PRETRAINED, RANDOM)),
        ("Pretrained weights look better than random ones (perceptual distance)", looks, (PRETRAINED, RANDOM)),
        ("The pretrained ViT converges faster than the ViT from scratch", _converges, (PRETRAINED, SCRATCH)),
        ("The ViT from scratch takes longer than both others", _longer, (SCRATCH, AUTOENCODER, PRETRAINED)),
    ]
    return [
        Verdict(claim, *judge(interval, *(best[system] for system in systems)))
        for claim, judge, systems in claims
        if best.keys() >= {*systems}
        and (judge is not looks or all(best[system].perceptual is not None for system in systems))
    ]


def _efficient(pca_psnr, interval, auto, vit):
    above, text = _difference(interval, auto.psnr, pca_psnr)
    _, seconds, times = _reached([auto, vit])
    return _all([above, _less(*seconds)]), f"{auto.label} {text} over PCA; {times}"


def _best(interval, pretrained, *others, looks=False):
    if looks:
        parts = [_difference(interval, o.perceptual, pretrained.perceptual, "+.4f", "") for o in others]
    else:
        parts = [_difference(interval, pretrained.psnr, other.psnr) for other in others]
    word = "nearer than" if looks else "over"
    texts = [f"{text} {word} {other.label}" for (_, text), other in zip(parts, others)]
    return _all([above for above, _ in parts]), f"{pretrained.label} {', '.join(texts)}"


def _converges(_, pretrained, vit):
    steps, seconds, times = _reached([pretrained, vit])
    parts = {_less(*steps), _less(*seconds)}
    return {(True,): "supported", (False,): "refuted"}.get(tuple(parts), "not decided"), times


def _longer(_, vit, *others):
    _, (seconds, *of_others), times = _reached([vit, *others])
    return _all([_less(other, seconds) for other in of_others]), times


def _all(parts):
    if False in parts:
        return "refuted"
    return "supported" if all(parts) else "not decided"


def _difference(interval, scores, reference, form="+.2f", unit=" dB"):
    """Return whether `scores` are above `reference`, None if the interval contains 0, and a text with the numbers."""
    limits = interval(scores, reference)
    text = f"{np.mean(scores - reference):{form}}{unit}"
    if limits is None:
        return None, text
    low, high = limits
    return (True if low > 0 else False if high < 0 else None), f"{text} [{low:{form}}, {high:{form}}]"


def _reached(entries):
    """Return steps and seconds over seeds at which each entry first reaches the common level, and a text with them."""
    level = min(curve.psnr.max() for entry in entries for curve in entry.curves)
    first = [[(curve, np.argmax(curve.psnr >= level)) for curve in entry.curves] for entry in entries]
    steps = [[int(curve.steps[at]) for curve, at in seeds] for seeds in first]
    seconds = [[float(curve.seconds[at]) for curve, at in seeds] for seeds in first]
    texts = [
        f"{entry.label} after {_range(time)} s ({_range(step)} steps)"
        for entry, step, time in zip(entries, steps, seconds)
    ]
    return steps, seconds, f"{level:.2f} dB on the validation crops: {', '.join(texts)}"


def _range(values):
    low, high = (f"{round(value):,}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _less(values, others):
    """Return whether all values are below all others; None if they overlap."""
    if max(values) < min(others):
        return True
    return False if min(values) > max(others) else None


BATCH = 64
RATE_BATCHES = 4  # of the fitting batches, to which steps and probabilities of latents are fitted
PICTURES = 6
SCORES = ("psnr", "ssim", "ms_ssim", "border ratio")


@dataclass
class Comparison:
    """Results of `compare`.

    Attributes:
        rows: columns of the table by row: the label of each system, `pca`, `mean`, and the codecs; for degraded images
            the degraded `input` instead of the codecs.
        seeds: scores of each run, by label.
        entries: the trained systems with their curves; empty if they were trained on different data, because the
            curves then belong to different crops.
        pca_validation_psnr: PSNR in dB of PCA on the validation crops.
        verdicts: verdicts on the claims about the entries.
        remarks: sentences on the table.
        rates: quality against bytes by row: dictionaries with `bytes`, `psnr`, and the `step` of a model's latents, in
            1/255, or the `quality` of a codec.
        pictures: a few images through each system, (images, height, width, channels), after the `original`.
    """

    rows: dict[str, dict]
    seeds: dict[str, list[dict]]
    entries: list[Entry]
    pca_validation_psnr: float
    verdicts: list[Verdict]
    remarks: list[str]
    rates: dict[str, list[dict]]
    pictures: dict[str, np.ndarray]


def compare(
    runs: dict[str, list[Run]],
    images: np.ndarray,
    groups: np.ndarray,
    fitting: Iterable,
    validation: Iterable,
    degradation: Degradation | None = None,
    models: dict[str, keras.Model] | None = None,
    inputs: np.ndarray | None = None,
    perceptual: str | None = None,
) -> Comparison:
    """Measure finished runs, other models, PCA, the mean patch, and codecs at equal bytes, on the same images.

    All systems get the degraded images. PCA is then the best linear map to the clean ones, and the codecs have no row,
    because they do not undo a degradation.

    Args:
        runs: a run per seed by the label of the row. All models must have the same image shape and, if they have a
            bottleneck, the same number of latent values.
        images: clean images, (images, height, width, channels) in [0, 1].
        groups: photo of each image, (images,), see `paired_interval`.
        fitting: (degraded, clean) batches of other images, to which PCA is fitted, and the coder of the latents to the
            first of them.
        validation: (degraded, clean) validation batches of the runs.
        degradation: degradation of the runs; each image is degraded by its index, see `degrade`.
        models: further models by label. They have no curves, and no claims are about them.
        inputs: degraded images of pairs; by default, `degradation` is applied.
        perceptual: `PRESET` or `PRESET:1,3,5` of the network for perceptual distances, see `perceptual_scores`.

    Raises:
        ValueError: if the models have different numbers of latent values.
    """
    degraded = degradation if inputs is None else "what is wrong in the pairs"
    inputs = degrade(images, degradation) if inputs is None else inputs
    batches = [(inputs[i : i + BATCH], images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    known = [degraded for degraded, _ in islice(iter(fitting), RATE_BATCHES)]
    of_label = {label: [load_model(run.model) for run in seeds] for label, seeds in runs.items()}
    of_label |= {label: [model] for label, model in (models or {}).items()}
    bottlenecks = {label: of[0] for label, of in of_label.items() if isinstance(of[0], Reconstructor)}
    counts = {label: math.prod(model.latent_shape) for label, model in bottlenecks.items()}
    if len({*counts.values()}) > 1:
        received = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise ValueError(f"all models must have one number of latent values. Received: {received}")
    measured = {label: System(seeds, batches, known) for label, seeds in of_label.items()}
    # Of PCAs with equal numbers of latent values, the one with the largest patches is the best.
    candidates = [*bottlenecks.values()] or [system.model for system in measured.values()]
    pca = fit_pca(max(candidates, key=patch_size_of), fitting)
    systems = {**measured, "pca": System([pca], batches, known)}
    curves = {label: [Curve.of(run) for run in seeds] for label, seeds in runs.items()}
    entries, remarks = _entries(measured, runs, curves)
    reference, interval = systems["pca"].scores["psnr"], partial(paired_interval, groups=groups)
    rows = {label: system.row() for label, system in systems.items()}
    for label, system in measured.items():
        limits = interval(system.scores["psnr"], reference) or ()
        rows[label] |= {"over pca": float(np.mean(system.scores["psnr"] - reference))}
        rows[label] |= zip(("95% from", "95% to"), limits)
        rows[label] |= _training(runs[label][0], curves[label]) if label in runs else {}
    for label in {*systems} - {*runs}:
        if isinstance(model := systems[label].model, Reconstructor):
            size = math.prod(model.latent_shape)
            rows[label] |= {"latent values": size, "compression ratio": model.compression_ratio}
    rows["mean"] = evaluate(mean_patch(pca), batches, pca.patch_size)
    references = _references(systems, images, batches, degraded)
    rows |= {r.name: r.row for r in references}
    reconstruct = {r.name: [r.reconstruct] for r in references if r.reconstruct} | {"pca": [pca]} | of_label
    if perceptual:
        looks = {
            name: over_seeds([perceptual_scores(function, batches, perceptual) for function in of_seeds])
            for name, of_seeds in reconstruct.items()
        }
        for name, scores in looks.items():
            rows[name] |= means(scores)
        entries = [entry._replace(perceptual=looks[entry.label]["perceptual"]) for entry in entries]
    # A random choice: an even one on a grid of crops could consist of corners of photos.
    chosen = np.sort(np.random.default_rng(0).choice(len(images), min(PICTURES, len(images)), replace=False))
    rates = {label: [point._asdict() for point in system.rate] for label, system in systems.items() if system.rate}
    rates |= {r.name: r.rate for r in references if r.rate}
    for label in systems.keys() & rates.keys():
        rows[label]["bd rate"] = _bd_rates(label, rates)
    return Comparison(
        rows=rows,
        seeds={
            label: [_seed(*of_seed) for of_seed in zip(runs[label], curves[label], measured[label].of_seeds)]
            for label in runs
        },
        entries=entries,
        pca_validation_psnr=evaluate(pca, validation)["psnr"],
        verdicts=verdicts(entries, reference, interval),
        remarks=remarks + [r.remark for r in references] + _bd_remarks(rows),
        rates=rates,
        pictures={"original": images[chosen]}
        | {name: ops.convert_to_numpy(functions[0](inputs[chosen])) for name, functions in reconstruct.items()},
    )


def _references(systems, images, batches, degradation):
    """Evaluate the degraded input, or codecs at the bytes of the best system that has bytes."""
    if degradation:
        return [degraded_input(batches, degradation)]
    coded = {label: system for label, system in systems.items() if system.coded}
    best = max(coded, key=lambda label: means(coded[label].scores)["psnr"])
    return [codec_within(name, images, batches, coded[best].coded.bytes, best) for name in CODECS]


def _entries(measured, runs, curves):
    """Return the trained systems with their curves; or remarks, if they were trained on different data."""
    data = {
        label: data_of(run.config) or f"photos as given, {run.protocol.get('validation photos')} for validation"
        for label, (run, *_) in runs.items()
    }
    if len({*data.values()}) > 1:
        return [], [f"{label}: trained on {of_run}." for label, of_run in data.items()]
    entries = []
    for label, (run, *_) in runs.items():
        system = RANDOM if run.config.get("load_weights") is False else type(measured[label].model).__name__
        entries.append(Entry(label, system, measured[label].scores["psnr"], curves[label]))
    return entries, []


def _bd_rates(label, rates):
    """Return the BD-rates of a row against PCA and the codecs, if they have a range of PSNR in common."""
    curves = {name: [(point["bytes"], point["psnr"]) for point in rate] for name, rate in rates.items()}
    others = [name for name in ("pca", *CODECS) if name in curves and name != label]
    found = {name: bd_rate(curves[label], curves[name]) for name in others}
    return {name: value for name, value in found.items() if value is not None}


def _bd_remarks(rows):
    texts = {
        label: ", ".join(f"{name} {value:+.0%}" for name, value in row.get("bd rate", {}).items())
        for label, row in rows.items()
    }
    return [f"{label}: bytes at equal PSNR (BD-rate), beside {text}." for label, text in texts.items() if text]


def _training(run, curves):
    """Return the columns on training: mean seconds over seeds, steps, and sizes of the model."""
    model = {name: value for name, value in run.results["model"].items() if name not in (*SCORES, "seconds")}
    seconds = round(np.mean([curve.seconds[-1] for curve in curves]))
    return {"seconds": seconds, "steps": int(curves[0].steps[-1]), **model}


def _seed(run, curve, scores):
    """Return the scores of a run for the JSON file."""
    return {
        "run": str(run.folder),
        "seed": run.config["seed"],
        **means(scores),
        "best validation psnr": float(curve.psnr.max()),
        "steps": int(curve.steps[-1]),
        "seconds": float(curve.seconds[-1]),
    }
