"""The learned image codec: a linear transform and two networks around an entropy model."""

import math
import typing
from collections.abc import Iterable
from functools import partial

import keras
import numpy as np
from keras import ops

from keras_recon import losses
from keras_recon.compression.entropy import EntropyModel, with_planes
from keras_recon.layers import ConvDecoder, ConvEncoder
from keras_recon.layers.linear_path import principal_components
from keras_recon.models.image_model import ImageModel, check_backend
from keras_recon.models.reconstructor import centered, fitting_patches, in_range
from keras_recon.ops import patchify, unpatchify
from keras_recon.presets import CODECS
from keras_recon.utils.files import replacing

PATCH_SIZE = 8
CHANNELS = 3
LEVELS = 255.0  # distortions are errors of pixels in units of 1/255


@keras.saving.register_keras_serializable("keras_recon")
class ImageCodec(ImageModel):
    """A transform codec with networks beside the transform and a learned entropy model, one model for all qualities.

        images -+-> KLT of 8x8 patches -(+)-> gains -> EntropyModel -> 1 / gains -+-> inverse KLT -(+)-> images
                +-> ConvEncoder -> head --+                                       +-> ConvDecoder --+

    - `adapt` fits the Karhunen-Loeve transform (KLT), which is a PCA of patches. The outputs of the networks are zero
      at first, so training begins at the performance of a transform codec such as JPEG.
    - A quality in [0, 1] sets the weight of the distortion against the bits, on a logarithmic scale. Gains scale each
      latent channel before rounding, which sets the step of its quantiser. They are interpolated between the learned
      gains of `num_knots` qualities, as in "Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation"
      (Cui et al., 2021).
    - `fit(images, images)` draws a random quality for each image and minimises, for the distortion given to `compile`,
      `distortion_weight(quality) * 255^2 * distortion + bits_per_pixel`.
    - `evaluate` and `predict` use the attribute `quality`, or take pairs of images and qualities (batch,).
    - `keras_recon.compression.compress` and `decompress` write and read files.

    Args:
        filters: Channels of the three levels of encoder and decoder, from fine to coarse.
        num_blocks: Residual blocks per level of the encoder and of the decoder.
        slices: Channels of the slices in which the latents are coded. See `EntropyModel`.
        hyper_dim: Channels of the hyper-latents. See `EntropyModel`.
        hyper_filters: Channels of the hyper-network. See `EntropyModel`.
        distortion_weights: Weights of the mean squared error, in units of 1/255, at the qualities 0 and 1.
        num_knots: Number of qualities with their own gains.
        seed: Seed of the random numbers in training.

    Attributes:
        quality: Quality of images without one, outside of training.

    Example:
    >>> codec = keras_recon.compression.ImageCodec(filters=(8, 8, 16), slices=(8, 24), hyper_dim=4, hyper_filters=8)
    >>> images = np.random.rand(2, 64, 96, 3).astype("float32")
    >>> codec.adapt(images)
    >>> outputs = codec((images, np.array([0.2, 0.8])))
    >>> outputs["images"].shape, outputs["bits_per_pixel"].shape
    ((2, 64, 96, 3), (2,))
    """

    presets: typing.ClassVar = CODECS
    patches_shape: typing.ClassVar = (None, None, None, PATCH_SIZE**2 * CHANNELS)
    patch_size: int = PATCH_SIZE
    fully_convolutional = True
    multiple: int = 32  # side in pixels of a hyper-latent

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
        super().__init__((None, None, CHANNELS), **kwargs)
        self.filters = tuple(filters)
        self.num_blocks = tuple(num_blocks)
        self.slices = tuple(slices)
        self.hyper_dim = hyper_dim
        self.hyper_filters = hyper_filters
        self.distortion_weights = tuple(distortion_weights)
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
        low, high = self.distortion_weights
        if not 0 < low < high:
            raise ValueError(
                "`distortion_weights` must be two rising numbers above 0. "
                f"Received: distortion_weights={self.distortion_weights}"
            )
        self.quality = 0.5
        self.bits_per_pixel = keras.metrics.Mean(name="bits_per_pixel")
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

    @property
    def quality(self) -> float:
        return self._quality

    @quality.setter
    def quality(self, quality: float):
        if not 0 <= quality <= 1:
            raise ValueError(f"`quality` must be from 0 to 1. Received: quality={quality}")
        self._quality = quality
        self.test_function = self.predict_function = None  # compiled functions contain the quality as a constant

    def distortion_weight(self, quality):
        """Compute the weight of the mean squared error, in units of 1/255, against the bits per pixel."""
        low, high = self.distortion_weights
        return low * (high / low) ** quality

    def default_step(self, quality: float) -> float:
        """Compute the step of a uniform quantiser, in units of 1/255, that is optimal at high rates.

        The squared error is step^2 / 12, and half the step costs one more bit for each of the three values of a pixel.
        """
        return math.sqrt(12 * CHANNELS / (2 * math.log(2) * self.distortion_weight(quality)))

    def knots(self, quality):
        """Compute the weight (batch, num_knots) of each knot in linear interpolation at qualities (batch,)."""
        at = ops.cast(quality, "float32")[:, None] * (self.num_knots - 1)
        return ops.relu(1.0 - ops.abs(at - ops.arange(self.num_knots, dtype="float32")))

    def call(self, inputs, training=None):
        """Code images and decode them again.

        Args:
            inputs: Images (batch, height, width, 3) in [0, 1] whose height and width are multiples of 32, or a pair of
                images and qualities (batch,) in [0, 1].
            training: Whether to draw qualities that are not given, and to estimate bits with noise.

        Returns:
            A dictionary of the decoded `images`, their `bits_per_pixel` (batch,) and `quality` (batch,).
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
        return {
            "images": self.synthesise(latents, knots, training),
            "bits_per_pixel": bits / ops.cast(height * width, "float32"),
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
        """Compute latents (batch, height / 8, width / 8, latent_dim), in steps of the quantiser and not rounded."""
        images = ops.cast(images, "float32")
        linear = ops.matmul(LEVELS * (self.patches(images) - self.mean), ops.transpose(self.basis))
        features = self.encoder(with_planes(centered(images), knots))[-1]
        gains = ops.exp(ops.matmul(knots, self.log_gain))[:, None, None]
        return gains * (linear + ops.cast(self.latent_head(features), "float32"))

    def synthesise(self, latents, knots, training=None):
        """Compute images (batch, height, width, 3) from rounded latents."""
        values = ops.exp(ops.matmul(knots, self.log_inverse_gain))[:, None, None] * latents
        linear = unpatchify(ops.matmul(values, self.basis) / LEVELS + self.mean, PATCH_SIZE)
        decoded = self.decoder(with_planes(values / self.input_scale, knots), training=training)
        return in_range(linear + ops.cast(decoded, "float32"), training)

    def patches(self, images):
        """Cut images into patches (batch, height / 8, width / 8, 192) of 8x8 pixels."""
        return patchify(images, PATCH_SIZE)

    def adapt(self, data: np.ndarray | Iterable, max_patches: int = 2**17):
        """Fit the linear transform and the scales of the latents.

        Args:
            data: Images (batch, height, width, 3) in [0, 1], or an iterable of batches, or of pairs of batches, of
                which the second one is used.
            max_patches: Number of patches to fit to.
        """
        _, patches = fitting_patches(self, data, max_patches)
        mean, components, _ = principal_components(patches, self.latent_dim)
        deviations = LEVELS * ((patches - mean) @ components.T).std(axis=0)  # zero where patches do not vary
        step = self.default_step(0.5)
        self.mean.assign(mean)
        self.basis.assign(components)
        self.input_scale.assign(deviations + step)
        self.entropy_model.start_at(deviations / step)

    def compile(self, optimizer="adam", loss="mse", **kwargs):
        """Configure the model for training, as `keras.Model.compile` does.

        Args:
            optimizer: The optimizer.
            loss: The distortion of images in [0, 1], a `keras.losses.Loss` or a text for `keras_recon.losses.get`. The
                default `distortion_weights` suit "mse" and "0.02*ms_ssim".
            **kwargs: Arguments of `keras.Model.compile`. Metrics are those of images.
        """
        loss = losses.get(loss)
        if not isinstance(loss, keras.losses.Loss):
            raise ValueError(f"`loss` must be a `keras.losses.Loss`, or a text such as 'mse'. Received: loss={loss!r}")
        if not isinstance(loss, losses.WeightedLoss):  # which returns one value per image for any kind of loss
            loss = losses.WeightedLoss([loss], [1.0])
        super().compile(optimizer, loss, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights = 1.0 if sample_weight is None else sample_weight
        image_weights = weights * LEVELS**2 * self.distortion_weight(y_pred["quality"])
        distortion = super().compute_loss(x, y, y_pred["images"], image_weights, training)
        # The mean of the bits, as a loss because Keras scales losses in distributed training.
        bits = y_pred["bits_per_pixel"][:, None]
        return distortion + keras.losses.MeanAbsoluteError()(ops.zeros_like(bits), bits, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.bits_per_pixel.update_state(y_pred["bits_per_pixel"])
        return super().compute_metrics(x, y, y_pred["images"], sample_weight)

    def compress(self, images, quality):
        """Compute the integers that an entropy coder codes, for use in a SavedModel.

        Args:
            images: (batch, height, width, 3) in [0, 1], height and width multiples of 32.
            quality: Qualities (batch,) in [0, 1].

        Returns:
            A dictionary of `symbols`, int32 (batch, height / 8, width / 8, latent_dim), `hyper_symbols`, int32 (batch,
            height / 32, width / 32, hyper_dim), and the `latents` for `decompress`, of the shape of `symbols`.
        """
        knots = self.knots(quality)
        hyper, symbols, latents, _ = self.entropy_model.code(self.analyse(images, knots), knots)
        symbols, hyper = ops.cast(symbols, "int32"), ops.cast(hyper, "int32")
        return {"symbols": symbols, "hyper_symbols": hyper, "latents": latents}

    def decompress(self, latents, quality):
        """Compute images (batch, height, width, 3) in [0, 1] from latents and qualities (batch,)."""
        return self.synthesise(latents, self.knots(quality))

    def export(
        self, filepath, format: str = "tf_saved_model", verbose=None, image_size: tuple = (None, None), **kwargs
    ):
        """Write a SavedModel with the methods `compress` and `decompress` as signatures.

        The SavedModel does no entropy coding, which needs Python: see `keras_recon.compression.compress` for files.

        Args:
            filepath: Folder to write.
            format: Must be "tf_saved_model".
            verbose: Whether Keras prints the signatures.
            image_size: Height and width of the images, multiples of 32, or None for any. JAX needs numbers.
            **kwargs: Arguments of `keras.export.ExportArchive.write_out`.

        Raises:
            ValueError: `format` is another one.
            RuntimeError: The backend cannot write a SavedModel.
        """
        if format != "tf_saved_model":
            raise ValueError(f"`format` must be 'tf_saved_model' for a codec. Received: format={format!r}")
        check_backend(format)
        latent_size = [side and side // PATCH_SIZE for side in image_size]
        spec = partial(keras.InputSpec, dtype="float32")
        quality = spec(shape=(None,), name="quality")
        images = spec(shape=(None, *image_size, CHANNELS), name="images")
        latents = spec(shape=(None, *latent_size, self.latent_dim), name="latents")
        archive = keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint("compress", self.compress, [images, quality])
        archive.add_endpoint("decompress", self.decompress, [latents, quality])
        with replacing(filepath) as temporary:
            archive.write_out(str(temporary), verbose=bool(verbose), **kwargs)

    def lora_parts(self):
        """Return the encoder and the decoder."""
        return [self.encoder, self.decoder]

    def get_config(self):
        names = ("filters", "num_blocks", "slices", "hyper_dim", "hyper_filters")
        names += ("distortion_weights", "num_knots", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _pair(inputs):
    """Split inputs into images and qualities, None if there are no qualities."""
    return inputs if isinstance(inputs, (tuple, list)) else (inputs, None)
