import numpy as np

from keras_recon.evaluation.rate import RatePoint, coarsest, rate_curve
from keras_recon.evaluation.scores import image_scores, means, over_seeds
from keras_recon.models import Reconstructor


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
