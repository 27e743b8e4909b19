"""The learned entropy model: it quantises latents and estimates how many bits they need."""

import math
from functools import partial

import keras
import numpy as np
from keras import ops

from keras_recon.layers.conv import conv
from keras_recon.ops import unpatchify

# Scales of the logistic distribution are powers of two, in quarters of an octave.
MIN_LOG_SCALE, MAX_LOG_SCALE = -4.5, 6.0
LEAK = 0.01  # slope beyond these limits, so that gradients bring a scale back
CONTEXT_SCALE = 0.25  # factor of decoded values at the input of the context networks


def logistic_bits(residuals, log_scale):
    """Compute the bits of quantised residuals under a logistic distribution with mean 0.

    The probability is the integral of the density from `residuals - 0.5` to `residuals + 0.5`, in a form that does not
    underflow.

    Args:
        residuals: Rounded residuals, or residuals with uniform noise.
        log_scale: Logarithm to base 2 of the scale of the distribution. Same shape.

    Returns:
        Bits of each residual.
    """
    slope = ops.exp(-math.log(2.0) * log_scale)
    above, below = (residuals + 0.5) * slope, (residuals - 0.5) * slope
    nats = ops.softplus(-above) + ops.softplus(below) - ops.log(-ops.expm1(-slope))
    return nats / math.log(2.0)


def within_scales(log_scale):
    """Limit log-scales to `MIN_LOG_SCALE` and `MAX_LOG_SCALE`, with the slope `LEAK` beyond them."""
    limited = ops.clip(log_scale, MIN_LOG_SCALE, MAX_LOG_SCALE)
    return limited + LEAK * (log_scale - limited)


def rounded(values):
    """Round values to integers, with the gradient of the identity."""
    return values + ops.stop_gradient(ops.round(values) - values)


def checkerboard(numpy, rows: int, columns: int, top: int = 0):
    """Make the mask (rows, columns) of the positions that are coded first.

    Args:
        numpy: The module that makes the array: NumPy or `keras.ops`.
        rows: Number of rows.
        columns: Number of columns.
        top: Index of the first row in the whole board.
    """
    return (numpy.arange(rows)[:, None] + numpy.arange(columns) + top) % 2 == 0


def with_planes(values, knots):
    """Append knot weights (batch, knots) to values (batch, rows, columns, channels), as constant channels."""
    planes = ops.broadcast_to(knots[:, None, None], (*ops.shape(values)[:3], knots.shape[-1]))
    return ops.concatenate([values, planes], axis=-1)


@keras.saving.register_keras_serializable("keras_recon")
class EntropyModel(keras.layers.Layer):
    """Quantises latents and estimates their bits, with a hyperprior and autoregressive context.

    - Hyper-latents, with a quarter of the latents' height and width, are coded first.
    - The channels of the latents are coded in slices. A network predicts mean and scale of each latent of a slice from
      the hyper-latents and from the slices before it.
    - Each slice is coded in two halves, as the two colours of a checkerboard. The second half also sees the first one.
      The last slice, which needs few bits, does not.

    In training, bits are those of latents with uniform noise, and the returned latents are rounded with the gradient of
    the identity.

    The model combines "Joint Autoregressive and Hierarchical Priors for Learned Image Compression" (Minnen et al.,
    2018), "Channel-wise Autoregressive Entropy Models for Learned Image Compression" (Minnen and Singh, 2020) and
    "Checkerboard Context Model for Efficient Learned Image Compression" (He et al., 2021).

    Args:
        slices: Channels of each slice. Their sum is the number of channels of the latents.
        hyper_dim: Channels of the hyper-latents.
        filters: Channels of the hyper-network.
        seed: Seed of the noise in training.
    """

    def __init__(self, slices, hyper_dim: int = 32, filters: int = 48, seed: int | None = None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.slices = tuple(slices)
        self.hyper_dim = hyper_dim
        self.filters = filters
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.starts = tuple(np.cumsum((0, *self.slices)).tolist())  # first channel of each slice, and the end
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
        for hidden, head, start, size in zip(self.hidden, self.heads, self.starts, self.context_dims):
            hidden.build((None, None, None, self.filters + start + size))
            head.build((None, None, None, 64))

    def start_at(self, deviations: np.ndarray):
        """Initialise the scales, for all images alike, from standard deviations (channels,) of the latents."""
        scales = np.log2(np.maximum(deviations * math.sqrt(3) / math.pi, 2.0**MIN_LOG_SCALE))
        for head, part in zip(self.heads, np.split(scales, self.starts[1:-1])):
            head.bias.assign(np.concatenate([np.zeros_like(part), part]))

    def call(self, latents, knots, training=None):
        """Quantise latents and estimate their bits.

        Args:
            latents: (batch, rows, columns, channels), rows and columns multiples of 4.
            knots: Knot weights of each image's quality, (batch, knots).
            training: Whether to estimate bits with noise.

        Returns:
            The rounded latents, of the same shape, and the bits of each image, (batch,).
        """
        _, _, decoded, bits = self.code(latents, knots, training)
        return decoded, bits

    def code(self, latents, knots, training=None):
        """Quantise latents as `call` does.

        Returns:
            Rounded hyper-latents and rounded residuals, which are the symbols that a range coder codes, then rounded
            latents and bits, as from `call`.
        """
        hyper = self.hyper_latents(latents)
        bits = self._bits(hyper, self.hyper_log_scale, training)
        hyper = rounded(hyper)
        features = self.features(hyper, knots)
        first = checkerboard(ops, *ops.shape(latents)[1:3])[..., None]
        symbols, decoded = [], []
        for i, values in enumerate(ops.split(latents, self.starts[1:-1], axis=-1)):
            mean, log_scale = self.parameters(i, features, decoded, ops.zeros_like(values))
            known = ops.where(first, mean + rounded(values - mean), 0.0)
            second = self.parameters(i, features, decoded, known)
            mean, log_scale = (ops.where(first, *pair) for pair in zip((mean, log_scale), second))
            bits = bits + self._bits(values - mean, log_scale, training)
            symbols.append(rounded(values - mean))
            decoded.append(mean + symbols[-1])
        return hyper, ops.concatenate(symbols, axis=-1), ops.concatenate(decoded, axis=-1), bits

    def hyper_latents(self, latents):
        """Compute hyper-latents (batch, rows / 4, columns / 4, hyper_dim), not rounded, from latents."""
        x = ops.sign(latents) * ops.log1p(ops.abs(latents))  # compresses the range for the network
        for layer in self.analysis:
            x = layer(x)
        return x

    def features(self, hyper, knots):
        """Compute the features (batch, rows, columns, filters) that all slices share, from rounded hyper-latents."""
        x = with_planes(hyper, knots)
        for layer in self.synthesis:
            x = unpatchify(layer(x), 2)
        return x

    def parameters(self, index: int, features, decoded, known):
        """Predict the distribution of each latent of a slice.

        Args:
            index: Index of the slice.
            features: Output of `features`.
            decoded: List of the rounded slices before this one.
            known: Rounded latents of this slice, with 0 at the positions that are not decoded yet.

        Returns:
            Mean and log-scale, both of the shape of `known`.
        """
        context = [CONTEXT_SCALE * d for d in (*decoded, known[..., : self.context_dims[index]])]
        x = ops.concatenate([features, *context], axis=-1)
        mean, log_scale = ops.split(self.heads[index](self.hidden[index](x)), 2, axis=-1)
        return mean, within_scales(log_scale)

    def _bits(self, values, log_scale, training):
        if training:
            noise = keras.random.uniform(ops.shape(values), -0.5, 0.5, dtype="float32", seed=self.seed_generator)
            values = values + noise
        else:
            values = rounded(values)
        return ops.sum(logistic_bits(values, log_scale), axis=(1, 2, 3))

    def get_config(self):
        names = ("slices", "hyper_dim", "filters", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
