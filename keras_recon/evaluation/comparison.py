"""The claims about the three systems, each with a verdict from measured numbers only."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_recon import metrics
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
    perceptual_scores,
)
from keras_recon.models import Reconstructor
from keras_recon.saving import load_model
from keras_recon.utils.run import Run, data_of

AUTOENCODER, PRETRAINED, SCRATCH = "ConvAutoencoder", "PretrainedViTReconstructor", "ViTReconstructor"
RANDOM = "random weights"  # of the architecture of a pretrained ViT


class Curve(NamedTuple):
    """A training run at its validations, arrays (validations,): steps and seconds so far, mean PSNR in dB."""

    steps: np.ndarray
    seconds: np.ndarray
    psnr: np.ndarray

    @classmethod
    def of(cls, run: Run) -> "Curve":
        """From the log of a finished run."""
        epochs = run.epochs()
        steps = (np.arange(len(epochs)) + 1) * run.config["steps_per_epoch"]
        seconds = np.cumsum([epoch["seconds"] for epoch in epochs])
        return cls(steps, seconds, np.array([epoch["val_psnr"] for epoch in epochs]))


class Entry(NamedTuple):
    """A row of a comparison: label, name of the model's class or `RANDOM`, PSNR (images,) and a curve per seed."""

    label: str
    system: str
    psnr: np.ndarray
    curves: list[Curve]
    perceptual: np.ndarray | None = None  # a distance


class Verdict(NamedTuple):
    """What the numbers say about a claim: `"supported"`, `"refuted"` or `"not decided"`, and the numbers."""

    claim: str
    verdict: str
    figures: str


def verdicts(entries: list[Entry], pca_psnr: np.ndarray, interval: Callable) -> list[Verdict]:
    """Judge the claims by the best row, by mean PSNR, of each system; those whose systems are not all there get none.

    One system is faster than another if its slowest seed reaches a level before the other's fastest. The level is the
    lowest of the best validation PSNRs of the runs under comparison, so that all of them reach it.

    Args:
        entries: the trained models.
        pca_psnr: (images,) of the baseline.
        interval: `interval(scores, reference)`, the (low, high) of the mean difference, or None if there is none.
    """
    best = {}
    for entry in sorted(entries, key=lambda entry: entry.psnr.mean()):
        best[entry.system] = entry

    claims = [
        (
            "The autoencoder is an efficient baseline (above PCA, and sooner at a level than the ViT from scratch)",
            (AUTOENCODER, SCRATCH),
            partial(_efficient, pca_psnr),
        ),
        ("The pretrained ViT reconstructs best", (PRETRAINED, AUTOENCODER, SCRATCH), _best),
        ("The pretrained ViT looks best (perceptual distance)", (PRETRAINED, AUTOENCODER, SCRATCH), _looks_best),
        ("Pretrained weights reconstruct better than random ones", (PRETRAINED, RANDOM), _best),
        ("Pretrained weights look better than random ones (perceptual distance)", (PRETRAINED, RANDOM), _looks_best),
        ("The pretrained ViT converges faster than the ViT from scratch", (PRETRAINED, SCRATCH), _converges),
        ("The ViT from scratch takes longer than both others", (SCRATCH, AUTOENCODER, PRETRAINED), _longer),
    ]
    return [
        Verdict(claim, *decide(*(best[system] for system in systems), interval))
        for claim, systems, decide in claims
        if best.keys() >= {*systems}
        and (decide is not _looks_best or all(best[system].perceptual is not None for system in systems))
    ]


def _efficient(pca_psnr, auto, vit, interval):
    above, text = _difference(auto.psnr, pca_psnr, interval)
    _, seconds, times = _reached([auto, vit])
    return _all([above, _less(seconds[0], seconds[1])]), f"{auto.label} {text} over PCA; {times}"


def _best(pretrained, *others_and_interval):
    *others, interval = others_and_interval
    parts = [_difference(pretrained.psnr, other.psnr, interval) for other in others]
    texts = [f"{text} over {other.label}" for (_, text), other in zip(parts, others)]
    return _all([above for above, _ in parts]), f"{pretrained.label} {', '.join(texts)}"


def _looks_best(pretrained, *others_and_interval):
    *others, interval = others_and_interval
    parts = [_difference(other.perceptual, pretrained.perceptual, interval, "+.4f", "") for other in others]
    texts = [f"{text} nearer than {other.label}" for (_, text), other in zip(parts, others)]
    return _all([less for less, _ in parts]), f"{pretrained.label} {', '.join(texts)}"


def _converges(pretrained, vit, _):
    steps, seconds, times = _reached([pretrained, vit])
    parts = [_less(*steps), _less(*seconds)]
    verdict = {(True, True): "supported", (False, False): "refuted"}.get(tuple(parts), "not decided")
    return verdict, times


def _longer(vit, auto, pretrained, _):
    _, seconds, times = _reached([vit, auto, pretrained])
    return _all([_less(other, seconds[0]) for other in seconds[1:]]), times


def _all(parts):
    if False in parts:
        return "refuted"
    return "supported" if all(parts) else "not decided"


def _difference(scores, reference, interval, form="+.2f", unit=" dB"):
    """Whether `scores` are above `reference` (None where the interval contains 0), and the figures."""
    limits = interval(scores, reference)
    text = f"{np.mean(scores - reference):{form}}{unit}"
    if limits is None:
        return None, text
    low, high = limits
    return (True if low > 0 else False if high < 0 else None), f"{text} [{low:{form}}, {high:{form}}]"


def _reached(entries):
    """Steps and seconds, a list over seeds for each entry, at the first validation at the common level; a sentence."""
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
    """Whether all values are below all others; None where they overlap."""
    if max(values) < min(others):
        return True
    return False if min(values) > max(others) else None


BATCH = 64
RATE_BATCHES = 4  # of the fitting ones, which steps and probabilities of latents are fitted to
PICTURES = 6
SCORES = ("psnr", "ssim", "ms_ssim", "border ratio")


@dataclass
class Comparison:
    """What was measured.

    Attributes:
        rows: of the table: the label of each system trained, `pca`, `mean`, and the codecs; for degraded images the
            degraded `input` itself, not clipped, in the place of the codecs.
        seeds: figures of each run, by label.
        entries: the trained systems with their curves; none if they were trained on different data, as the curves are
            then of different crops, and the claims are not about such runs.
        pca_validation_psnr: in dB, on the crops that the curves are of.
        verdicts: on the claims whose systems are among the entries.
        remarks: sentences that the table needs.
        rates: quality against bytes, by row: dictionaries with `bytes`, `psnr`, and the `step` of a model's latents, in
            1/255, or the `quality` of a codec.
        pictures: the same few images through every system, (images, height, width, channels), `original` first,
            then `input` where it differs.
        picture_psnr: (images,) in dB by system.
    """

    rows: dict[str, dict]
    seeds: dict[str, list[dict]]
    entries: list[Entry]
    pca_validation_psnr: float
    verdicts: list[Verdict]
    remarks: list[str]
    rates: dict[str, list[dict]]
    pictures: dict[str, np.ndarray]
    picture_psnr: dict[str, np.ndarray]


def compare(
    runs: dict[str, list[Run]],
    images: np.ndarray,
    groups: np.ndarray,
    fitting: Iterable,
    validation: Iterable,
    degradation: Degradation | None = None,
    models: dict[str, Reconstructor] | None = None,
    inputs: np.ndarray | None = None,
    perceptual: str | None = None,
) -> Comparison:
    """Measure finished runs, other models, PCA, the mean patch, and codecs at as many bytes, on the same images.

    All systems see the degraded images, also PCA, which is then the best linear map to the clean ones. The codecs then
    have no row: they undo nothing.

    Args:
        runs: a run per seed by the label of the row; of one image shape and number of latent values.
        images: (images, height, width, channels) in [0, 1], clean.
        groups: (images,), the photo that each is from, see `paired_interval`.
        fitting: (degraded, clean) batches of other images: PCA is fitted to them, and what the latents of all models
            cost to the first of them.
        validation: the (degraded, clean) batches that the runs' curves are of.
        degradation: of the runs; each image is degraded by its index, see `degrade`.
        models: by label, of the same image shape and number of latent values; without a run, they have no curve, and
            the claims are not about them.
        inputs: of pairs, the degraded images; else `degradation` makes them.
        perceptual: `PRESET` or `PRESET:1,3,5` of the network that judges how rows look; see `perceptual_scores`.
    """
    degraded = degradation if inputs is None else "what is wrong in the pairs"
    inputs = degrade(images, degradation) if inputs is None else inputs
    batches = [(inputs[i : i + BATCH], images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    known = [degraded for degraded, _ in islice(iter(fitting), RATE_BATCHES)]
    of_runs = {label: [load_model(run.model) for run in seeds] for label, seeds in runs.items()}
    of_label = {**of_runs, **{label: [model] for label, model in (models or {}).items()}}
    _check_latents(of_label)
    measured = {label: System(seeds, batches, known) for label, seeds in of_label.items()}
    trained = {label: measured[label] for label in runs}
    # Of PCAs with as many latent values, the one with the largest patches is the best.
    pca = fit_pca(max((system.model for system in measured.values()), key=lambda model: model.patch_size), fitting)
    systems = {**measured, "pca": System([pca], batches, known)}
    references = _references(systems, images, batches, degraded)
    curves = {label: [Curve.of(run) for run in seeds] for label, seeds in runs.items()}
    entries, remarks = _entries(trained, runs, curves)
    reference, interval = systems["pca"].scores["psnr"], partial(paired_interval, groups=groups)
    rows = {label: system.row() for label, system in systems.items()}
    for label, system in measured.items():
        rows[label] |= _over(system.scores["psnr"], reference, interval)
        rows[label] |= _training(runs[label][0], curves[label]) if label in runs else {}
    for label in {*systems} - {*runs}:
        model = systems[label].model
        rows[label] |= {"latent values": math.prod(model.latent_shape), "compression ratio": model.compression_ratio}
    rows["mean"] = evaluate(mean_patch(pca), batches, pca.patch_size)
    reconstruct = {
        **{r.name: r.reconstruct for r in references if r.reconstruct},
        **{label: systems[label].model for label in ("pca", *measured)},
    }
    # At random: evenly spread over a grid, they could all be the corners of photos.
    chosen = np.sort(np.random.default_rng(0).choice(len(images), min(PICTURES, len(images)), replace=False))
    rows |= {r.name: r.row for r in references}
    if perceptual:
        functions = {**of_label, **{name: [function] for name, function in reconstruct.items() if name not in of_label}}
        looks = {
            name: over_seeds([perceptual_scores(function, batches, perceptual) for function in of_seeds])
            for name, of_seeds in functions.items()
        }
        for name, scores in looks.items():
            rows[name] |= means(scores)
        entries = [entry._replace(perceptual=looks[entry.label]["perceptual"]) for entry in entries]
    outputs = {name: ops.convert_to_numpy(function(inputs[chosen])) for name, function in reconstruct.items()}
    rates = {
        **{label: [point._asdict() for point in system.rate] for label, system in systems.items() if system.rate},
        **{r.name: r.rate for r in references if r.rate},
    }
    for label in systems.keys() & rates.keys():
        rows[label]["bd rate"] = _bd_rates(label, rates)
    return Comparison(
        rows=rows,
        seeds={
            label: [_seed(*of_seed) for of_seed in zip(runs[label], curves[label], system.of_seeds)]
            for label, system in trained.items()
        },
        entries=entries,
        pca_validation_psnr=evaluate(pca, validation)["psnr"],
        verdicts=verdicts(entries, reference, interval),
        remarks=remarks + [r.remark for r in references] + _bd_remarks(rows),
        rates=rates,
        pictures={"original": images[chosen], **outputs},
        picture_psnr={name: ops.convert_to_numpy(metrics.psnr(images[chosen], o)) for name, o in outputs.items()},
    )


def _check_latents(models):
    """Refuse models, lists by label, that keep different numbers of values."""
    counts = {label: math.prod(of_label[0].latent_shape) for label, of_label in models.items()}
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise ValueError(f"all models must have one number of latent values. Received: {received}")


def _references(systems, images, batches, degradation):
    """The degraded input, or codecs at the bytes of the best system that has any."""
    if degradation:
        return [degraded_input(batches, degradation)]
    coded = {label: system for label, system in systems.items() if system.coded}
    best = max(coded, key=lambda label: means(coded[label].scores)["psnr"])
    return [codec_within(name, images, batches, coded[best].coded.bytes, best) for name in CODECS]


def _entries(trained, runs, curves):
    """The trained systems with their curves, or what each was trained on, where they cannot be compared by these."""
    data = {label: data_of(seeds[0].config) or "photos as given" for label, seeds in runs.items()}
    if len(set(data.values())) > 1:
        return [], [f"{label}: trained on {of_run}." for label, of_run in data.items()]
    return [
        Entry(label, _system_of(system.model, runs[label][0]), system.scores["psnr"], curves[label])
        for label, system in trained.items()
    ], []


def _system_of(model, run):
    return RANDOM if run.config.get("load_weights") is False else type(model).__name__


def _bd_rates(label, rates):
    """The BD-rate of a row beside PCA and the codecs, where they have a PSNR in common."""
    curves = {name: [(point["bytes"], point["psnr"]) for point in rate] for name, rate in rates.items()}
    others = [name for name in ("pca", *CODECS) if name in curves and name != label]
    found = {name: bd_rate(curves[label], curves[name]) for name in others}
    return {name: value for name, value in found.items() if value is not None}


def _bd_remarks(rows):
    remarks = []
    for label, row in rows.items():
        if row.get("bd rate"):
            text = ", ".join(f"{name} {value:+.0%}" for name, value in row["bd rate"].items())
            remarks.append(f"{label}: bytes at equal PSNR (BD-rate), beside {text}.")
    return remarks


def _over(psnr, reference, interval):
    """Columns of a row beside the baseline's PSNR."""
    limits = interval(psnr, reference) or ()
    return {"over pca": float(np.mean(psnr - reference)), **dict(zip(("95% from", "95% to"), limits))}


def _training(run, curves):
    """Columns that a row's training gives it: seconds as the mean over seeds, steps, sizes of the model."""
    model = {name: value for name, value in run.results["model"].items() if name not in (*SCORES, "seconds")}
    seconds = round(np.mean([curve.seconds[-1] for curve in curves]))
    return {"seconds": seconds, "steps": int(curves[0].steps[-1]), **model}


def _seed(run, curve, scores):
    """A run's figures in the JSON."""
    return {
        "run": str(run.folder),
        "seed": run.config["seed"],
        **means(scores),
        "best validation psnr": float(curve.psnr.max()),
        "steps": int(curve.steps[-1]),
        "seconds": float(curve.seconds[-1]),
    }
