import math
from dataclasses import dataclass, field

from keras_recon.degradations import Degradation

LOSSES = "mse, l1, charbonnier, ssim, perceptual:PRESET or a mix such as charbonnier+0.2*ssim"


def option(default, text: str, **kwargs):
    """A field of options with its help text, for a command line."""
    return field(default=default, metadata={"help": text, **kwargs})


@dataclass(frozen=True)
class TrainingOptions:
    """How `keras_recon.training.train` trains a model; a ValueError names an option that is out of range.

    `dataclasses.fields` has the meaning of each. The learning rate for other batches than of `base_batch_size` follows
    the rule for Adam of "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms" (Malladi et al., 2022).

    Example:

    >>> TrainingOptions(epochs=10, steps_per_epoch=300).total_steps
    3000
    """

    batch_size: int = option(32, "images per step")
    epochs: int = option(6, "epochs; each ends with a validation")
    steps_per_epoch: int = option(100, "training steps per epoch")
    learning_rate: float = option(3e-3, "peak learning rate of AdamW")
    base_batch_size: int | None = option(
        None, "batch size that the learning rate is for; at others it is multiplied by the square root of the ratio"
    )
    warmup_steps: int = option(100, "steps until the peak learning rate; in short runs at most half of all")
    weight_decay: float = option(0.05, "weight decay of the network's kernels")
    ema_momentum: float = option(0.99, "momentum of the moving average of the weights that is validated; 0 for none")
    backbone_scale: float = option(
        0.1, "learning rate of a pretrained backbone as a share of that of the new layers", flag=False
    )
    degradation: str | Degradation | None = option(
        None, "what the model learns to undo, such as noise:25, noise:0-50, mask:0.75, blur:1.6+noise:5 or jpeg:10"
    )
    quarter_turns: bool = option(False, "turn the crops by quarters, beside the flips; they must be square")
    loss: str = option("mse", LOSSES)
    adversarial: float = option(
        0.0, "weight of the loss that a discriminator gives, beside --loss, to a model that is trained; 0 for none"
    )
    on_divergence: str = option(
        "stop",
        "what follows when the loss explodes: stop, or rollback by an epoch or two, to go on at half the learning "
        "rate, up to four times",
        choices=("stop", "rollback"),
    )
    fit_linear_path: bool = option(
        True, "fit the model's linear path first; False for a model that is trained already", flag=False
    )
    seed: int = option(0, "seed of weights, crops and dropout")

    def __post_init__(self):
        for name in ("batch_size", "base_batch_size", "epochs", "steps_per_epoch"):
            self._require(name, lambda x: x >= 1, "at least 1")
        for name in ("learning_rate", "backbone_scale", "weight_decay", "adversarial"):
            self._require(name, lambda x: 0 <= x < math.inf, "finite, from 0")
        self._require("warmup_steps", lambda x: x >= 0, "at least 0")
        self._require("ema_momentum", lambda x: 0 <= x < 1, "from 0 to below 1")
        self._require("seed", lambda x: 0 <= x < 2**32, "from 0 to below 2^32")
        self._require("on_divergence", lambda x: x in ("stop", "rollback"), "'stop' or 'rollback'")

    def _require(self, name, valid, expectation):
        value = getattr(self, name)
        if value is not None and not valid(value):
            raise ValueError(f"`{name}` must be {expectation}. Received: {name}={value!r}")

    @property
    def total_steps(self) -> int:
        """Training steps of all epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def selects_weights(self) -> bool:
        """Whether those of the epoch with the best validation PSNR are kept: what is trained to look right has less."""
        return "perceptual" not in self.loss and not self.adversarial

    @property
    def used_warmup_steps(self) -> int:
        """`warmup_steps`, in short runs half of all."""
        return min(self.warmup_steps, self.total_steps // 2)

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate` for batches of `batch_size`."""
        return self.learning_rate * math.sqrt(self.batch_size / (self.base_batch_size or self.batch_size))
