import math
import typing
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_recon.compression.entropy import LEVELS, EntropyModel, RateDistortion
from keras_recon.compression.integer import Halves
from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.layers.linear_path import principal_components
from keras_recon.models.image_model import SafelySaved
from keras_recon.models.reconstructor import centered, fitting_patches, in_range
from keras_recon.ops import patchify, unpatchify
from keras_recon.presets import CODECS

PATCH_SIZE = 8
CHANNELS = 3


@keras.saving.register_keras_serializable("keras_recon")
class ImageCodec(RateDistortion, Halves, SafelySaved):
    """A transform codec with a network beside it on both sides and a learned entropy model: one for all qualities.

        images -+-> KLT of 8x8 patches -(+)-> gains -> EntropyModel -> 1 / gains -+-> inverse KLT -(+)-> images
                +-> ConvEncoder -> head --+                                       +-> ConvDecoder --+

    The Karhunen-Loeve transform (PCA without loss) is fitted by `adapt`; what the networks add is zero at first, so
    that training begins at a transform codec, as JPEG is one. A quality from 0 to 1 stands for the weight of the
    distortion beside the bits, on a logarithmic scale. Its gains, a step of the quantiser for each latent channel, are
    interpolated between learned ones ("Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation", Cui
    et al., 2021).

    It is trained by `fit(images, images)`: each image gets a quality at random, and the loss is the distortion that
    `compile` gets times `distortion_weight`, plus the bits per pixel. `evaluate` takes images at one quality, that of
    the attribute, or pairs of images and their qualities (batch,). What it makes files of is `compress`.

    Args:
        filters: channels of the three levels of encoder and decoder, from fine to coarse.
        num_blocks: residual blocks per level, of the encoder and of the decoder.
        slices: channels of the latents, in the slices in which they are coded; see `EntropyModel`.
        hyper_dim, hyper_filters: the `EntropyModel`'s.
        distortion_weights: of the mean squared error, in units of 1/255, at the qualities 0 and 1.
        num_knots: qualities that have gains of their own.
        seed: of what is random in training.

    Attributes:
        quality: of images that come without one, outside of training.

    Example:

    >>> codec = keras_recon.compression.ImageCodec(filters=(8, 8, 16), slices=(8, 24), hyper_dim=4, hyper_filters=8)
    >>> images = np.random.rand(2, 64, 96, 3).astype("float32")
    >>> codec.adapt(images)
    >>> outputs = codec((images, np.array([0.2, 0.8])))
    >>> outputs["images"].shape, outputs["bits_per_pixel"].shape
    ((2, 64, 96, 3), (2,))
    """

    presets: typing.ClassVar = CODECS
    image_shape: typing.ClassVar = (None, None, CHANNELS)
    patches_shape: typing.ClassVar = (None, None, None, PATCH_SIZE**2 * CHANNELS)
    patch_size: int = PATCH_SIZE
    multiple: int = 32  # pixels of a hyper-latent's side

    def __init__(
        self,
        filters: tuple[int, int, int] = (32, 64, 96),
        num_blocks: tuple[int, int] = (2, 1),
        slices: tuple[int, ...] = (6, 14, 28, 56, 88),
        hyper_dim: int = 32,
        hyper_filters: int = 48,
        distortion_weights: tuple[float, float] = (0.002, 0.07),
        num_knots: int = 5,
        seed: int | None = None,
        **kwargs,
    ):
        # Inputs are not cast to the compute dtype: in half precision the pixels themselves would be rounded.
        super().__init__(distortion_weights, **kwargs, autocast=False)
        self.filters = tuple(filters)
        self.num_blocks = tuple(num_blocks)
        self.slices = tuple(slices)
        self.hyper_dim = hyper_dim
        self.hyper_filters = hyper_filters
        self.num_knots = num_knots
        self.seed = seed
        values = self.patches_shape[-1]
        self.latent_dim = sum(self.slices)
        if len(self.filters) != 3 or len(self.num_blocks) != 2 or not 1 <= self.latent_dim <= values or num_knots < 2:
            raise ValueError(
                f"`filters` must have 3 numbers, `num_blocks` 2, `slices` add up to 1 to {values}, and `num_knots` be "
                f"at least 2. Received: filters={filters}, num_blocks={num_blocks}, slices={slices}, "
                f"num_knots={num_knots}"
            )
        self.seed_generator = keras.random.SeedGenerator(seed)
        shared = {"filters": self.filters, "normalization": "none", "dtype": self.dtype_policy}
        self.encoder = ConvEncoder(num_blocks=self.num_blocks[0], **shared, name="encoder")
        self.latent_head = keras.layers.Dense(
            self.latent_dim, kernel_initializer="zeros", dtype=self.dtype_policy, name="latent_head"
        )
        self.entropy_model = EntropyModel(self.slices, hyper_dim, hyper_filters, seed, name="entropy_model")
        self.decoder = ConvDecoder(
            CHANNELS, num_blocks=self.num_blocks[1], zero_init=True, divided=False, **shared, name="decoder"
        )
        self.build((None, None, None, CHANNELS))

    def build(self, input_shape):
        values = self.patches_shape[-1]
        fitted = {"trainable": False, "autocast": False}
        middle, orthogonal = keras.initializers.Constant(0.5), keras.initializers.Orthogonal()
        self.mean = self.add_weight(shape=(values,), initializer=middle, name="mean", **fitted)
        self.basis = self.add_weight(shape=(self.latent_dim, values), initializer=orthogonal, name="basis", **fitted)
        self.input_scale = self.add_weight(shape=(self.latent_dim,), initializer="ones", name="input_scale", **fitted)
        gains = -np.log([self.default_step(i / (self.num_knots - 1)) for i in range(self.num_knots)])
        gains = np.tile(gains[:, None], (1, self.latent_dim)).astype("float32")
        for name, start in (("log_gain", gains), ("log_inverse_gain", -gains)):
            setattr(self, name, self.add_weight(shape=gains.shape, initializer="zeros", name=name, autocast=False))
            getattr(self, name).assign(start)
        self.encoder.build((None, None, None, CHANNELS + self.num_knots))
        self.latent_head.build((None, None, None, self.filters[-1]))
        self.entropy_model.build((None, None, None, self.latent_dim), (None, self.num_knots))
        self.decoder.build((None, None, None, self.latent_dim + self.num_knots))

    def default_step(self, quality: float) -> float:
        """The step of a uniform quantiser, in 1/255, that is the best at the quality if rates are high.

        The error is step^2 / 12, and half the step costs each of three values a pixel one more bit.
        """
        return math.sqrt(12 * CHANNELS / (2 * math.log(2) * self.distortion_weight(quality)))

    def knots(self, quality):
        """How much each knot counts, (batch, num_knots), at qualities (batch,)."""
        at = ops.cast(quality, "float32")[:, None] * (self.num_knots - 1)
        return ops.relu(1.0 - ops.abs(at - ops.arange(self.num_knots, dtype="float32")))

    def call(self, inputs, training=None):
        """A dictionary: `images` as decoded, the `bits_per_pixel` and the `quality`, both (batch,), of each.

        Args:
            inputs: images (batch, height, width, 3) in [0, 1], multiples of 32 high and wide, or a pair of them and of
                qualities (batch,) from 0 to 1.
        """
        images, quality = _pair(inputs)
        if quality is None:
            count = ops.shape(images)[:1]
            drawn = keras.random.uniform(count, dtype="float32", seed=self.seed_generator) if training else None
            quality = ops.full(count, self.quality, "float32") if drawn is None else drawn
        quality = ops.cast(quality, "float32")
        knots = self.knots(quality)
        latents, bits = self.entropy_model(self.analyse(images, knots), knots, training=training)
        _, height, width, _ = ops.shape(images)
        pixels = ops.cast(height * width, "float32")
        return {
            "images": self.synthesise(latents, knots, training),
            "bits_per_pixel": bits / pixels,
            "quality": quality,
        }

    def checked(self, inputs):
        images, quality = _pair(inputs)
        images = super().checked(images)
        return images if quality is None else (images, quality)

    def compute_output_spec(self, inputs, training=None):
        images, _ = _pair(inputs)
        shapes = {"images": images.shape, "bits_per_pixel": images.shape[:1], "quality": images.shape[:1]}
        return {name: keras.KerasTensor(shape, "float32") for name, shape in shapes.items()}

    def analyse(self, images, knots):
        """Latents (batch, height / 8, width / 8, latent_dim) in steps of the quantiser, not rounded."""
        images = ops.cast(images, "float32")
        linear = ops.matmul(LEVELS * (self.patches(images) - self.mean), ops.transpose(self.basis))
        features = self.encoder(_with_planes(centered(images), knots))[-1]
        gains = ops.exp(ops.matmul(knots, self.log_gain))[:, None, None]
        return gains * (linear + ops.cast(self.latent_head(features), "float32"))

    def synthesise(self, latents, knots, training=None):
        """Images (batch, height, width, 3) of rounded latents."""
        values = ops.exp(ops.matmul(knots, self.log_inverse_gain))[:, None, None] * latents
        linear = unpatchify(ops.matmul(values, self.basis) / LEVELS + self.mean, PATCH_SIZE)
        decoded = self.decoder(_with_planes(values / self.input_scale, knots), training=training)
        return in_range(linear + ops.cast(decoded, "float32"), training)

    def patches(self, images):
        """Of 8x8 pixels: (batch, height / 8, width / 8, 192)."""
        return patchify(images, PATCH_SIZE)

    def adapt(self, data: np.ndarray | Iterable, max_patches: int = 2**17):
        """Fit the transform to images in [0, 1], or to batches of them, or of pairs whose second images count."""
        _, patches = fitting_patches(self, data, max_patches)
        mean, components, _ = principal_components(patches, self.latent_dim)
        deviations = LEVELS * ((patches - mean) @ components.T).std(axis=0)  # none where nothing varies
        step = self.default_step(0.5)
        self.mean.assign(mean)
        self.basis.assign(components)
        self.input_scale.assign(deviations + step)
        self.entropy_model.start_at(deviations / step)

    def get_config(self):
        names = ("filters", "num_blocks", "slices", "hyper_dim", "hyper_filters")
        names += ("distortion_weights", "num_knots", "seed")
        dtype = keras.saving.serialize_keras_object(self.dtype_policy)
        return {**super().get_config(), "dtype": dtype, **{name: getattr(self, name) for name in names}}


def _pair(inputs):
    """Images and their qualities, or None."""
    return inputs if isinstance(inputs, (tuple, list)) else (inputs, None)


def _with_planes(values, knots):
    """Values (batch, rows, columns, channels) and, as constant channels, the knots of each image."""
    planes = ops.broadcast_to(knots[:, None, None], (*ops.shape(values)[:3], knots.shape[-1]))
    return ops.concatenate([values, planes], axis=-1)
