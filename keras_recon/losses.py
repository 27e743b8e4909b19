"""Losses for images in [0, 1], and weighted sums of losses from text such as "charbonnier+0.2*ssim"."""

import re

import keras
from keras import ops

from keras_recon.features.perceptual import parse, perceptual_distance
from keras_recon.metrics import multi_scale_ssim, ssim


@keras.saving.register_keras_serializable("keras_recon")
class Charbonnier(keras.losses.Loss):
    """`mean(sqrt((y_true - y_pred)^2 + epsilon^2))`, a smooth L1: small errors converge too.

    From "Two deterministic half-quadratic regularization algorithms for computed imaging" (Charbonnier et al., 1994).

    Args:
        epsilon: error in pixel values below which the loss is quadratic.
        name: name of the loss.
        **kwargs: see `keras.losses.Loss`.

    Example:
    >>> loss = keras_recon.losses.Charbonnier()
    >>> round(float(loss(keras.ops.zeros((2, 16, 16, 3)), keras.ops.full((2, 16, 16, 3), 0.1))), 4)
    0.1
    """

    def __init__(self, epsilon: float = 1e-3, name: str = "charbonnier", **kwargs):
        super().__init__(name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        return ops.mean(ops.sqrt(ops.square(y_true - y_pred) + self.epsilon**2), axis=-1)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("keras_recon")
class SSIMLoss(keras.losses.Loss):
    """`1 - SSIM` of each image (Wang et al., 2004), for images in [0, 1] of at least 11x11 pixels.

    Example:
    >>> images = keras.random.uniform((2, 16, 16, 3), seed=0)
    >>> loss = keras_recon.losses.SSIMLoss()
    >>> abs(round(float(loss(images, images)), 4))
    0.0
    """

    def __init__(self, name: str = "ssim_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return 1.0 - ssim(y_true, y_pred)


@keras.saving.register_keras_serializable("keras_recon")
class MultiScaleSSIMLoss(keras.losses.Loss):
    """`1 - MS-SSIM` of each image (Wang et al., 2003), for images in [0, 1] of at least 161x161 pixels.

    Example:
    >>> images = keras.random.uniform((1, 161, 176, 1), seed=0)
    >>> loss = keras_recon.losses.MultiScaleSSIMLoss()
    >>> abs(round(float(loss(images, images)), 4))
    0.0
    """

    def __init__(self, name: str = "ms_ssim_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return 1.0 - multi_scale_ssim(y_true, y_pred)


@keras.saving.register_keras_serializable("keras_recon")
class PerceptualLoss(keras.losses.Loss):
    """`keras_recon.features.perceptual_distance` of each image from the true one, for images of a known size.

    It does not see all errors of pixels, so combine it with a loss on pixels, as in `"mse+0.1*perceptual:PRESET"`. The
    preset is loaded at the first call: a model that was trained with this loss is loaded and used without the preset.

    Args:
        preset: see `keras_recon.features.perceptual_distance`.
        depths: blocks of the backbone that are compared, see there.
        name: name of the loss.
        **kwargs: see `keras.losses.Loss`.

    Example:
    >>> loss = keras_recon.losses.PerceptualLoss("deit_tiny", depths=(1, 2))
    >>> float(loss(np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32, 3))))
    0.0
    """

    def __init__(self, preset: str, depths: tuple[int, ...] | None = None, name: str = "perceptual_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.preset = str(preset)
        self.depths = depths and tuple(depths)

    def call(self, y_true, y_pred):
        return perceptual_distance(y_true, y_pred, self.preset, self.depths)

    def get_config(self):
        return {**super().get_config(), "preset": self.preset, "depths": self.depths}


@keras.saving.register_keras_serializable("keras_recon")
class WeightedLoss(keras.losses.Loss):
    """Weighted sum of losses.

    Args:
        losses: losses.
        weights: one weight per loss.
        name: name of the loss.
        **kwargs: see `keras.losses.Loss`.

    Example:
    >>> losses = [keras_recon.losses.Charbonnier(), keras_recon.losses.SSIMLoss()]
    >>> loss = keras_recon.losses.WeightedLoss(losses, weights=[1.0, 0.2])
    >>> round(float(loss(keras.ops.zeros((2, 16, 16, 3)), keras.ops.ones((2, 16, 16, 3)))), 2)
    1.2
    """

    def __init__(self, losses: list[keras.losses.Loss], weights: list[float], name: str = "weighted_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if len(losses) != len(weights):
            raise ValueError(f"`losses` and `weights` must have one length. Received: {len(losses)} and {len(weights)}")
        self.losses, self.weights = losses, weights

    def call(self, y_true, y_pred):
        total = 0.0
        for loss, weight in zip(self.losses, self.weights):
            values = loss.call(y_true, y_pred)  # (batch, height, width) or (batch,)
            total += weight * ops.mean(values, axis=tuple(range(1, len(values.shape))))
        return total  # (batch,)

    def get_config(self):
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {**super().get_config(), "losses": losses, "weights": self.weights}

    @classmethod
    def from_config(cls, config):
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})


LOSSES = {
    "mse": keras.losses.MeanSquaredError,
    "l1": keras.losses.MeanAbsoluteError,
    "charbonnier": Charbonnier,
    "ssim": SSIMLoss,
    "ms_ssim": MultiScaleSSIMLoss,
}


def from_string(text: str) -> keras.losses.Loss:
    """Create a loss from a name, or a weighted sum of losses from a text such as `"charbonnier+0.2*ssim"`.

    Args:
        text: sum of `"mse"`, `"l1"`, `"charbonnier"`, `"ssim"`, `"ms_ssim"` and `"perceptual:PRESET"`, each with an
            optional factor. `perceptual:PRESET:1,3,5` selects blocks of the backbone.

    Returns:
        The loss, a `WeightedLoss` for more than one term.

    Raises:
        ValueError: if the text has another form.

    Example:
    >>> keras_recon.losses.from_string("charbonnier+0.2*ssim").weights
    [1.0, 0.2]
    >>> keras_recon.losses.from_string("mse+0.1*perceptual:deit_tiny:1,3,5").losses[1].depths
    (1, 3, 5)
    """
    terms = [re.fullmatch(r"(?:(\d+\.?\d*|\.\d+)\*)?(\w+)(?::(.+))?", term.strip()) for term in text.split("+")]
    if not all(term and (term[2] == "perceptual" if term[3] else term[2] in LOSSES) for term in terms):
        raise ValueError(
            f"`loss` must be a sum such as 'charbonnier+0.2*ssim' of {[*LOSSES, 'perceptual:PRESET']}. "
            f"Received: loss={text!r}"
        )
    losses = [PerceptualLoss(*parse(term[3])) if term[3] else LOSSES[term[2]]() for term in terms]
    if len(terms) == 1 and not terms[0][1]:
        return losses[0]
    return WeightedLoss(losses, [float(term[1] or 1) for term in terms])


def get(identifier):
    """Create a loss from its text, see `from_string`, or from its name in Keras; return other objects unchanged.

    Example:
    >>> keras_recon.losses.get("charbonnier").epsilon
    0.001
    >>> keras_recon.losses.get("huber") is keras.losses.huber
    True
    """
    if not isinstance(identifier, str):
        return identifier
    try:
        return from_string(identifier)
    except ValueError as error:
        try:
            return keras.losses.get(identifier)
        except ValueError:
            raise error from None
