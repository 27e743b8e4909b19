"""The claims about the three systems, each with a verdict from measured numbers only."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from keras_recon.utils.run import Run

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
