import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from keras import ops

from keras_recon import metrics
from keras_recon.degradations import Degradation, degrade
from keras_recon.evaluation.baselines import fit_pca, mean_patch
from keras_recon.evaluation.rate import CODECS, at_bytes, quantized_scores, transmit
from keras_recon.evaluation.scores import evaluate, image_scores, means, paired_interval
from keras_recon.evaluation.verdicts import Curve, Entry, Verdict, verdicts
from keras_recon.models import Reconstructor
from keras_recon.saving import load_model
from keras_recon.utils.run import Run

BATCH = 64
PICTURES = 6
SCORES = ("psnr", "ssim", "ms_ssim")


class System:
    """One or more models, equal up to the seed, on the same (degraded, clean) batches; per-image means over the seeds.

    Attributes:
        model: the first.
        of_seeds: `image_scores` of each model.
        scores: PSNR, SSIM ... (images,) by name.
        quantized: the same with the latents in 8 bits; None for a model that needs more than its latents.
        bytes: per image, of these latents; None as above.
    """

    def __init__(self, models: list[Reconstructor], batches: list):
        self.model = models[0]
        self.of_seeds = [image_scores(model, batches) for model in models]
        self.scores = _mean(self.of_seeds)
        self.quantized = self.bytes = None
        if self.model.decodes_latents:
            quantized, sizes = zip(*(quantized_scores(model, batches) for model in models))
            self.quantized, self.bytes = _mean(quantized), float(np.mean(sizes))

    def row(self) -> dict:
        """Its columns of the table."""
        psnr = [scores["psnr"].mean(dtype="float64") for scores in self.of_seeds]
        row = means(self.scores)
        if self.quantized:
            row |= {"psnr 8-bit": means(self.quantized)["psnr"], "bytes": round(self.bytes)}
        if len(psnr) > 1:
            row |= {"seeds": len(psnr), "spread": float(np.std(psnr, ddof=1))}
        return row


@dataclass
class Comparison:
    """What was measured.

    Attributes:
        rows: of the table: the label of each system trained, `pca`, `mean`, and `jpeg` and `webp`; for degraded images
            the degraded `input` itself, not clipped, in the place of the codecs.
        seeds: figures of each run, by label.
        entries: the trained systems with their curves.
        pca_validation_psnr: in dB, on the crops that the curves are of.
        verdicts: on the three claims.
        remarks: sentences that the table needs.
        curves: of each codec, dictionaries with `quality`, `bytes` and `psnr`.
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
    curves: dict[str, list[dict]]
    pictures: dict[str, np.ndarray]
    picture_psnr: dict[str, np.ndarray]


def compare(
    runs: dict[str, list[Run]],
    images: np.ndarray,
    groups: np.ndarray,
    fitting: Iterable,
    validation: Iterable,
    degradation: Degradation | None = None,
) -> Comparison:
    """Measure finished runs, PCA, the mean patch, and JPEG and WebP at as many bytes, on the same images.

    All systems see the degraded images, also PCA, which is then the best linear map to the clean ones. JPEG and WebP
    then have no row: they undo nothing.

    Args:
        runs: a run per seed by the label of the row; of one image shape and number of latent values.
        images: (images, height, width, channels) in [0, 1], clean.
        groups: (images,), the photo that each is from, see `paired_interval`.
        fitting: batches that PCA is fitted to.
        validation: the (degraded, clean) batches that the runs' curves are of.
        degradation: of the runs; each image is degraded by its index, see `degrade`.
    """
    inputs = degrade(images, degradation)
    batches = [(inputs[i : i + BATCH], images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    trained = {label: System([load_model(run.model) for run in seeds], batches) for label, seeds in runs.items()}
    # Of PCAs with as many latent values, the one with the largest patches is the best.
    pca = fit_pca(max((system.model for system in trained.values()), key=lambda model: model.patch_size), fitting)
    systems = {**trained, "pca": System([pca], batches)}
    rows = {label: system.row() for label, system in systems.items()}
    reference, interval = systems["pca"].scores["psnr"], partial(paired_interval, groups=groups)
    for label, seeds in runs.items():
        psnr = trained[label].scores["psnr"]
        limits = interval(psnr, reference) or (None, None)
        over = {"over pca": float(np.mean(psnr - reference)), "95% from": limits[0], "95% to": limits[1]}
        rows[label] = {"psnr": rows[label]["psnr"], **over, **rows[label], **_training(seeds)}
    rows["pca"] |= {"latent values": math.prod(pca.latent_shape), "compression ratio": pca.compression_ratio}
    rows["mean"] = evaluate(mean_patch(pca), batches)
    # At random: evenly spread over a grid, they could all be the corners of photos.
    chosen = np.sort(np.random.default_rng(0).choice(len(images), min(PICTURES, len(images)), replace=False))
    seen, chosen = inputs[chosen], images[chosen]
    outputs = {label: ops.convert_to_numpy(system.model(seen)) for label, system in systems.items()}
    best = max((label for label in systems if systems[label].bytes), key=lambda label: rows[label]["psnr"])
    remarks, curves = [], {}
    if degradation:
        rows["input"] = evaluate(lambda degraded: degraded, batches)
        outputs["input"] = seen
        remarks.append(f"{', '.join(CODECS)}: left out, as they do not undo {degradation}.")
    for codec in () if degradation else CODECS:
        if codec == "jpeg" and images.shape[-1] == 4:
            remarks.append("jpeg: it has no fourth channel.")
            continue
        coded, curve = at_bytes(codec, images, systems[best].bytes)
        curves[codec] = [c._asdict() for c in curve]
        if coded:
            scores = evaluate(partial(_decoded, codec=codec, quality=coded.quality), batches)
            rows[codec] = {**scores, "psnr 8-bit": scores["psnr"], "bytes": round(coded.bytes)}
            outputs[codec] = _decoded(chosen, codec, coded.quality)
            remarks.append(f"{codec}: quality {coded.quality}, the greatest within the bytes of {best}.")
        else:
            rows[codec] = {"bytes": round(curve[0].bytes)}
            remarks.append(f"{codec}: needs more than the bytes of {best} even at its lowest quality.")
    order = [name for name in ("input", "pca", "jpeg", "webp", *trained) if name in outputs]
    entries = [
        Entry(label, type(system.model).__name__, system.scores["psnr"], [Curve.of(run) for run in runs[label]])
        for label, system in trained.items()
    ]
    return Comparison(
        rows=rows,
        seeds={label: [_seed(*pair) for pair in zip(runs[label], s.of_seeds)] for label, s in trained.items()},
        entries=entries,
        pca_validation_psnr=evaluate(pca, validation)["psnr"],
        verdicts=verdicts(entries, reference, interval),
        remarks=remarks,
        curves=curves,
        pictures={"original": chosen, **{name: outputs[name] for name in order}},
        picture_psnr={name: ops.convert_to_numpy(metrics.psnr(chosen, outputs[name])) for name in order},
    )


def _decoded(images, codec, quality):
    return transmit(images, codec, quality)[0]


def _mean(scores):
    return {name: np.mean([score[name] for score in scores], axis=0) for name in scores[0]}


def _training(seeds):
    """Columns that a row's training gives it: seconds as the mean over seeds, steps, sizes of the model."""
    model = {name: value for name, value in seeds[0].results["model"].items() if name not in (*SCORES, "seconds")}
    seconds = round(np.mean([Curve.of(run).seconds[-1] for run in seeds]))
    return {"seconds": seconds, "steps": int(Curve.of(seeds[0]).steps[-1]), **model}


def _seed(run, scores):
    """A run's figures in the JSON."""
    curve = Curve.of(run)
    return {
        "run": str(run.folder),
        "seed": run.config["seed"],
        **means(scores),
        "best validation psnr": float(curve.psnr.max()),
        "steps": int(curve.steps[-1]),
        "seconds": float(curve.seconds[-1]),
    }
