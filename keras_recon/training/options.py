"""The options of a training."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_recon import degradations
from keras_recon.degradations import Degradation


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `keras_recon.train`.

    Args:
        batch_size: images per step, of all devices together.
        epochs: number of epochs; each ends with a validation.
        steps_per_epoch: training steps per epoch.
        learning_rate: peak learning rate of AdamW.
        base_batch_size: batch size that `learning_rate` is tuned for, or None for `batch_size`. Other batch sizes
            multiply the learning rate by the square root of the ratio ("On the SDEs and Scaling Rules for Adaptive
            Gradient Algorithms", Malladi et al., 2022).
        warmup_steps: steps until the peak learning rate, limited to half of all steps.
        weight_decay: weight decay of the network's kernels.
        ema_momentum: momentum of the moving average of the weights that is validated and kept; 0 for no average.
        backbone_scale: ratio of the learning rate of a pretrained backbone to that of the new layers.
        degradation: the degradation that the model learns to undo, such as `"noise:25"`, `"noise:0-50"`,
            `"blur:1.6+noise:5"` or `"jpeg:10"`, or an object of `keras_recon.degradations`, or None.
        quarter_turns: whether crops are also turned by multiples of 90 degrees; they must be square.
        loss: a text for `keras_recon.losses.get`, such as `"mse"` or `"charbonnier+0.2*ssim"`, a `keras.losses.Loss`,
            or a function `loss(y_true, y_pred)`.
        adversarial: weight of an adversarial loss for a trained model, see `keras_recon.AdversarialTraining`; 0 for
            none.
        on_divergence: `"stop"` raises `Diverged` if the loss explodes. `"rollback"` goes back by one or two epochs and
            halves the learning rate, up to four times.
        fit_linear_path: whether to fit the model's linear path before the training; False for a trained model.
        seed: seed of crops and noise, from 0 to below 2^32.

    Raises:
        ValueError: an option is out of range.

    Example:
    >>> TrainingOptions(epochs=10, steps_per_epoch=300).total_steps
    3000
    """

    batch_size: int = 32
    epochs: int = 6
    steps_per_epoch: int = 100
    learning_rate: float = 3e-3
    base_batch_size: int | None = None
    warmup_steps: int = 100
    weight_decay: float = 0.05
    ema_momentum: float = 0.99
    backbone_scale: float = 0.1
    degradation: str | Degradation | None = None
    quarter_turns: bool = False
    loss: str | keras.losses.Loss | Callable = "mse"
    adversarial: float = 0.0
    on_divergence: str = "stop"
    fit_linear_path: bool = True
    seed: int = 0

    def __post_init__(self):
        for name in ("batch_size", "base_batch_size", "epochs", "steps_per_epoch"):
            self._require(name, lambda x: x >= 1, "at least 1")
        for name in ("learning_rate", "backbone_scale", "weight_decay", "adversarial"):
            self._require(name, lambda x: 0 <= x < math.inf, "finite, from 0")
        self._require("warmup_steps", lambda x: x >= 0, "at least 0")
        self._require("ema_momentum", lambda x: 0 <= x < 1, "from 0 to below 1")
        self._require("seed", lambda x: 0 <= x < 2**32, "from 0 to below 2^32")
        self._require("on_divergence", lambda x: x in ("stop", "rollback"), "'stop' or 'rollback'")
        self._require("loss", lambda x: isinstance(x, str) or callable(x), "a text, a keras.losses.Loss or a function")

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
        """Whether to keep the weights with the best validation PSNR.

        Adversarial and perceptual losses trade PSNR for visual quality, so the last weights are kept with them.
        """
        return not self.adversarial and "perceptual" not in str(self.as_json()["loss"]).lower()

    @property
    def used_warmup_steps(self) -> int:
        """`warmup_steps`, limited to half of all steps."""
        return min(self.warmup_steps, self.total_steps // 2)

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, scaled from `base_batch_size` to `batch_size`."""
        return self.learning_rate * math.sqrt(self.batch_size / (self.base_batch_size or self.batch_size))

    def as_json(self) -> dict:
        """Return the options by name as values for JSON, with losses by name or configuration."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.loss, keras.losses.Loss):
            options["loss"] = keras.saving.serialize_keras_object(self.loss)
        elif not isinstance(self.loss, str):
            options["loss"] = getattr(self.loss, "__name__", type(self.loss).__name__)
        degradation = degradations.get(self.degradation)
        return {**options, "degradation": degradation and str(degradation)}
