import math
from functools import partial

import keras
import numpy as np
from keras import ops

from keras_recon import losses
from keras_recon.layers.conv import conv
from keras_recon.models.image_model import Checked
from keras_recon.ops import unpatchify

# Scales of the logistic distribution are powers of two, in quarters of an octave.
MIN_LOG_SCALE, MAX_LOG_SCALE = -4.5, 6.0
LEAK = 0.01  # of the slope beyond them, so that a scale finds its way back
CONTEXT_SCALE = 0.25  # of decoded values, as the network of the next slice takes them


def logistic_bits(residuals, log_scale):
    """Bits of rounded residuals under a logistic distribution around zero, whose scale is 2^log_scale.

    The integral of the density from `residuals - 0.5` to `residuals + 0.5`, in a form that underflows nowhere.
    """
    slope = ops.exp(-math.log(2.0) * log_scale)
    above, below = (residuals + 0.5) * slope, (residuals - 0.5) * slope
    nats = ops.softplus(-above) + ops.softplus(below) - ops.log(-ops.expm1(-slope))
    return nats / math.log(2.0)


def within_scales(log_scale):
    """Log-scales between the least and the greatest, almost."""
    least = MIN_LOG_SCALE + LEAK * (log_scale - MIN_LOG_SCALE)
    greatest = MAX_LOG_SCALE + LEAK * (log_scale - MAX_LOG_SCALE)
    return ops.minimum(ops.maximum(log_scale, least), greatest)


def rounded(values):
    """Values rounded to integers, with the gradient of the values themselves."""
    return values + ops.stop_gradient(ops.round(values) - values)


def checkerboard(numpy, rows: int, columns: int, top: int = 0):
    """Which positions (rows, columns) come first, from the row `top` on, as an array of NumPy or of `keras.ops`."""
    return (numpy.arange(rows)[:, None] + numpy.arange(columns) + top) % 2 == 0


@keras.saving.register_keras_serializable("keras_recon")
class EntropyModel(keras.layers.Layer):
    """Rounds latents and tells the bits that they need: a hyperprior, and what is decoded already as context.

    Hyper-latents, a quarter as high and wide as the latents, are coded first; from them, and from the slices of
    channels that came before, a network tells the mean and the scale of each latent of the next slice. Of a slice, half
    the positions come first, as the squares of one colour on a checkerboard, and are then known to the others. The last
    slice, of hardly any bits, does without. From "Joint Autoregressive and Hierarchical Priors for Learned Image
    Compression" (Minnen et al., 2018), "Channel-wise Autoregressive Entropy Models for Learned Image Compression"
    (Minnen and Singh, 2020), "Checkerboard Context Model for Efficient Learned Image Compression" (He et al., 2021).

    In training, bits are those of latents with uniform noise, and the latents that are given back are rounded, with
    the gradient of the identity.

    Args:
        slices: channels of each slice; their sum is that of the latents.
        hyper_dim: channels of the hyper-latents.
        filters: channels of the hyper-network and of the networks of the slices.
        seed: of the noise.
    """

    def __init__(self, slices, hyper_dim: int = 32, filters: int = 48, seed: int | None = None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.slices = tuple(slices)
        self.hyper_dim = hyper_dim
        self.filters = filters
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.context_dims = (*self.slices[:-1], 0)  # channels of a slice that its own second half sees
        layer = partial(conv, dtype="float32")
        self.analysis = [
            layer(2 * filters, strides=2, activation="relu", name="analysis_0"),
            layer(hyper_dim, strides=2, name="analysis_1"),
        ]
        self.synthesis = [layer(4 * filters, activation="relu", name=f"synthesis_{i}") for i in range(2)]
        self.hidden = [layer(64, activation="relu", name=f"hidden_{i}") for i in range(len(self.slices))]
        self.heads = [
            layer(2 * size, 1, kernel_initializer="zeros", name=f"head_{i}") for i, size in enumerate(self.slices)
        ]

    def build(self, latents_shape, knots_shape):
        channels, knots = latents_shape[-1], knots_shape[-1]
        self.hyper_log_scale = self.add_weight(shape=(self.hyper_dim,), initializer="zeros", name="hyper_log_scale")
        self.analysis[0].build((None, None, None, channels))
        self.analysis[1].build((None, None, None, 2 * self.filters))
        self.synthesis[0].build((None, None, None, self.hyper_dim + knots))
        self.synthesis[1].build((None, None, None, self.filters))
        before = 0
        for i, (size, hidden, head) in enumerate(zip(self.slices, self.hidden, self.heads)):
            hidden.build((None, None, None, self.filters + before + self.context_dims[i]))
            head.build((None, None, None, 64))
            before += size

    def start_at(self, deviations: np.ndarray):
        """Begin with the scales of latents of these standard deviations (channels,), whatever the image."""
        scales = np.log2(np.maximum(deviations * math.sqrt(3) / math.pi, 2.0**MIN_LOG_SCALE))
        starts = np.cumsum((0, *self.slices))
        for head, start, size in zip(self.heads, starts, self.slices):
            head.bias.assign(np.concatenate([np.zeros(size), scales[start : start + size]]))

    def call(self, latents, knots, training=None):
        """Rounded latents, and bits of each image (batch,).

        Args:
            latents: (batch, rows, columns, channels), rows and columns multiples of 4.
            knots: (batch, knots), what tells the quality.
        """
        _, _, decoded, bits = self.code(latents, knots, training)
        return decoded, bits

    def code(self, latents, knots, training=None):
        """Rounded hyper-latents and residuals, which are the symbols of a coder, rounded latents, and bits."""
        hyper = self.hyper_latents(latents)
        rounded_hyper = rounded(hyper)
        bits = self._bits(hyper, rounded_hyper, self.hyper_log_scale, training)
        features = self.features(rounded_hyper, knots)
        first = checkerboard(ops, *ops.shape(latents)[1:3])[..., None]
        symbols, decoded, start = [], [], 0
        for i, size in enumerate(self.slices):
            of_slice = latents[..., start : start + size]
            mean, log_scale = self.parameters(i, features, decoded, ops.zeros_like(of_slice))
            known = ops.where(first, mean + rounded(of_slice - mean), 0.0)
            others = self.parameters(i, features, decoded, known)
            mean, log_scale = (ops.where(first, *pair) for pair in zip((mean, log_scale), others))
            residuals = of_slice - mean
            rounded_residuals = rounded(residuals)
            bits = bits + self._bits(residuals, rounded_residuals, log_scale, training)
            symbols.append(rounded_residuals)
            decoded.append(mean + rounded_residuals)
            start += size
        return rounded_hyper, ops.concatenate(symbols, axis=-1), ops.concatenate(decoded, axis=-1), bits

    def hyper_latents(self, latents):
        """(batch, rows / 4, columns / 4, hyper_dim), not rounded."""
        x = ops.sign(latents) * ops.log1p(ops.abs(latents))  # of a range that networks like
        for layer in self.analysis:
            x = layer(x)
        return x

    def features(self, hyper, knots):
        """What all slices know: (batch, rows, columns, filters) of rounded hyper-latents."""
        _, rows, columns, _ = ops.shape(hyper)
        planes = ops.broadcast_to(knots[:, None, None, :], (ops.shape(knots)[0], rows, columns, knots.shape[-1]))
        x = ops.concatenate([hyper, planes], axis=-1)
        for layer in self.synthesis:
            x = unpatchify(layer(x), 2)
        return x

    def parameters(self, index: int, features, decoded, known):
        """Mean and log-scale of each latent of a slice, given the slices before, as decoded, and what is known of it.

        Where nothing is known of the slice, `known` is zero.
        """
        context = [CONTEXT_SCALE * d for d in (*decoded, known[..., : self.context_dims[index]])]
        x = ops.concatenate([features, *context], axis=-1)
        mean, log_scale = ops.split(self.heads[index](self.hidden[index](x)), 2, axis=-1)
        return mean, within_scales(log_scale)

    def _bits(self, values, rounded_values, log_scale, training):
        if training:
            noise = keras.random.uniform(ops.shape(values), -0.5, 0.5, dtype="float32", seed=self.seed_generator)
            rounded_values = values + noise
        return ops.sum(logistic_bits(rounded_values, log_scale), axis=(1, 2, 3))

    def get_config(self):
        return {
            **super().get_config(),
            "slices": self.slices,
            "hyper_dim": self.hyper_dim,
            "filters": self.filters,
            "seed": self.seed,
        }


LEVELS = 255.0  # distortions are of pixels in these units


class RateDistortion(Checked):
    """A model trained for a distortion times `distortion_weight`, plus the bits per pixel: of one quality or of many.

    Its call gives a dictionary of `images`, `bits_per_pixel` and `quality`, both (batch,).

    Args:
        distortion_weights: of the mean squared error, in units of 1/255, at the qualities 0 and 1.
    """

    def __init__(self, distortion_weights: tuple[float, float], **kwargs):
        super().__init__(**kwargs)
        self.distortion_weights = tuple(distortion_weights)
        low, high = self.distortion_weights
        if not 0 < low < high:
            raise ValueError(
                f"`distortion_weights` must be two rising numbers above 0. Received: {tuple(distortion_weights)}"
            )
        self.quality = 0.5
        self.bits_per_pixel = keras.metrics.Mean(name="bits_per_pixel")

    @property
    def quality(self) -> float:
        """Of images that come without one, outside of training."""
        return self._quality

    @quality.setter
    def quality(self, quality: float):
        if not 0 <= quality <= 1:
            raise ValueError(f"`quality` must be from 0 to 1. Received: quality={quality}")
        self._quality = quality
        self.test_function = self.predict_function = None  # a compiled one has the quality in it

    def distortion_weight(self, quality):
        """Of the mean squared error, in units of 1/255, beside the bits per pixel."""
        low, high = self.distortion_weights
        return low * (high / low) ** quality

    def compile(self, optimizer="adam", loss="mse", **kwargs):
        """As `keras.Model.compile`, with metrics of images.

        Args:
            optimizer: the optimizer.
            loss: the distortion, of images in [0, 1], a `keras.losses.Loss` or a text as in
                `keras_recon.losses.from_string`. `distortion_weights` are for "mse"; "0.02*ms_ssim" goes with them.
        """
        loss = losses.get(loss)
        if not isinstance(loss, keras.losses.Loss):
            raise ValueError(f"`loss` must be a `keras.losses.Loss`, or a text such as 'mse'. Received: loss={loss!r}")
        if not isinstance(loss, losses.WeightedLoss):  # which gives one value for each image, whatever it consists of
            loss = losses.WeightedLoss([loss], [1.0])
        super().compile(optimizer, loss, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights = 1.0 if sample_weight is None else sample_weight
        of_images = weights * LEVELS**2 * self.distortion_weight(y_pred["quality"])
        distortion = super().compute_loss(x, y, y_pred["images"], of_images, training)
        # Between replicas, Keras divides the one as the other.
        return distortion + self._aggregate_additional_loss(ops.mean(weights * y_pred["bits_per_pixel"]))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.bits_per_pixel.update_state(y_pred["bits_per_pixel"])
        return super().compute_metrics(x, y, y_pred["images"], sample_weight)
