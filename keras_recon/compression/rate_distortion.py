import keras
from keras import ops

from keras_recon import losses
from keras_recon.models.checked import Checked

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
