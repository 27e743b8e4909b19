import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.classifier import DefectClassifier, Ensemble
from keras_recon.anomaly.decoder import FeatureDecoder
from keras_recon.anomaly.distances import NearestPatch, PCAResidual, PositionGaussian
from keras_recon.anomaly.synthetic import damaged_photos
from keras_recon.data import Photos, folder_photos, read_photo
from keras_recon.features import FeatureExtractor, photo_features, photo_tiles
from keras_recon.features.extractor import tile_axes
from keras_recon.images.pixels import resize_bicubic
from keras_recon.images.tiles import Axis, blend
from keras_recon.models.image_model import SafelySaved, check_range

METHODS = {
    "ensemble": Ensemble,
    "classifier": DefectClassifier,
    "nearest": NearestPatch,
    "pca": PCAResidual,
    "gaussian": PositionGaussian,
    "decoder": FeatureDecoder,
}


class Detection(NamedTuple):
    """How anomalous each pixel of a photo, (height, width), and the whole is: 1 is the threshold.

    Example:

    >>> keras_recon.anomaly.Detection(np.zeros((48, 64)), score=1.2).is_anomalous
    True
    """

    map: np.ndarray
    score: float

    @property
    def is_anomalous(self) -> bool:
        """Whether the photo is above the threshold."""
        return self.score > 1


@keras.saving.register_keras_serializable("keras_recon")
class AnomalyDetector(SafelySaved):
    """Finds defects by features of a pretrained backbone that are unlike those of good photos.

        photo -> tiles -> FeatureExtractor -> method -> distances of patches / threshold -> map -> its maximum

    Maps are the mean of two: the second is that of the tile moved by half a patch down and to the right, as a small
    defect at the corner of four patches is hard to see in each.

    `adapt` fits it to good photos, Keras's `fit` is not needed: `decoder`, `classifier` and with it `ensemble` train
    what they have in it. As a Keras model it maps tiles, float
    (batch, *image_shape) in [0, 1], to a dictionary of `map` (batch, height, width) and `score` (batch,); `predict` and
    `evaluate` take photos of any size, whose aspect ratio is kept, see `keras_recon.features.photo_tiles`.

    Args:
        preset: name of a keras-hub preset, `hf://owner/name`, a local folder in Keras or Hugging Face layout, or a
            `keras_recon.features.FeatureExtractor` for square images.
        method: `"classifier"`, which learns from defects that are drawn into the good photos, `"nearest"`, `"pca"`,
            `"gaussian"` (of each position), `"decoder"`, `"ensemble"` of the first two and a Gaussian of all patches,
            or a layer with `adapt(features)` from features (batch, rows, columns, features) to distances (batch, rows,
            columns), such as `NearestPatch(20_000)`.
        side: in pixels, of tiles and of the short side to which photos are resized.
        depths: blocks of the preset's backbone, see `FeatureExtractor.from_preset`.
        channels: of photos.

    Attributes:
        threshold: the distance above which a photo is anomalous, from good photos that the method was not fitted to.

    Example:

    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> detector = keras_recon.anomaly.AnomalyDetector(extractor, method="pca")
    >>> good = np.random.rand(20, 40, 50, 3).astype("float32")
    >>> detector.adapt(good)
    >>> found = detector.predict(good[0])
    >>> found.map.shape, found.score > 0
    ((40, 50), True)
    """

    def __init__(
        self,
        preset: str | FeatureExtractor,
        method: str | keras.layers.Layer = "ensemble",
        side: int = 384,
        depths: tuple[int, ...] | None = None,
        channels: int = 3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(method, str) and method not in METHODS:
            raise ValueError(f"`method` must be one of {[*METHODS]} or a layer. Received: method={method!r}")
        is_extractor = isinstance(preset, FeatureExtractor)
        self.extractor = preset if is_extractor else FeatureExtractor.from_preset(str(preset), side, depths, channels)
        self.image_shape = self.extractor.image_shape
        if self.image_shape[0] != self.image_shape[1]:
            raise ValueError(f"`preset` must be for square images. Received: image_shape={self.image_shape}")
        self.method = METHODS[method]() if isinstance(method, str) else method
        self.threshold_weight = self.add_weight(shape=(), initializer="ones", trainable=False, name="threshold")
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        if not self.method.built:
            self.method.build((None, *self.extractor.feature_shape))
        self.built = True

    @property
    def threshold(self) -> float:
        return float(self.threshold_weight.value)

    def adapt(
        self, good, held_out=0.2, false_alarms: float = 0.05, cache: str | Path | None = None, on_bad: str = "error"
    ):
        """Fit the method to good photos, and the threshold to such that it was not fitted to.

        Args:
            good: a folder, which is searched recursively, a list of paths, or photos (height, width, channels), uint8
                or float in [0, 1].
            held_out: other good photos for the threshold, or the share of `good` that is left out for it, the last
                ones; in the end the method is fitted to all of `good`. Where photos show the same thing several times,
                name photos of other things: seen ones give a threshold that is too low.
            false_alarms: the share of good photos that may be above the threshold.
            cache: a folder that keeps features, see `keras_recon.features.photo_features`.
            on_bad: what is done about files that cannot be read: "skip" or "error".
        """
        if not 0 <= false_alarms < 1:
            raise ValueError(f"`false_alarms` must be from 0 to below 1. Received: false_alarms={false_alarms}")
        good = self._photos(good, on_bad)
        is_share = isinstance(held_out, (int, float))
        if is_share:
            count = math.ceil(held_out * len(good))
            if not 0 < count < len(good):
                raise ValueError(
                    f"`held_out` must leave photos for the method and for the threshold. "
                    f"Received: held_out={held_out} of {len(good)} photos"
                )
            good, others = good[:-count], good[-count:]
        else:
            others = self._photos(held_out, on_bad)
        photos, side = [*good, *(others if is_share else ())], self.image_shape[0]
        known = [photo_features(self.extractor, photos, cache)]
        if getattr(self.method, "learns_defects", False):
            damaged, shares = damaged_photos(photos, side, side // self.extractor.feature_shape[0])
            known += [photo_features(self.extractor, damaged, cache), shares]
        count = sum(math.prod(axis.count for axis in tile_axes(photo.shape, side)) for photo in good)
        self.method.adapt(*(part[:count] for part in known))
        self.threshold_weight.assign(1.0)
        scores = np.sort([self._detect(photo).score for photo in others])
        # So that a further good photo is above it with the probability that was asked for, at most.
        rank = math.ceil((1 - false_alarms) * (len(scores) + 1))
        self.threshold_weight.assign(max(scores[min(rank, len(scores)) - 1], 1e-6))
        if is_share:
            self.method.adapt(*known)

    def _maps(self, images):
        distances = self.method(self.extractor(images)) / self.threshold_weight  # (batch, rows, columns)
        return ops.image.resize(distances[..., None], self.image_shape[:2], data_format="channels_last")

    def call(self, images):
        half = self.image_shape[0] // self.extractor.feature_shape[0] // 2
        maps = self._maps(images)
        if half:
            moved = ops.pad(images, ((0, 0), (0, half), (0, half), (0, 0)), "reflect")[:, half:, half:]
            moved = ops.pad(self._maps(moved), ((0, 0), (half, 0), (half, 0), (0, 0)), "symmetric")
            maps = (maps + moved[:, :-half, :-half]) / 2
        maps = maps[..., 0]
        return {"map": maps, "score": ops.max(maps, axis=(1, 2))}

    def predict(self, photos):
        """What is anomalous in a photo, or in each of several.

        Args:
            photos: a photo (height, width, channels), uint8, uint16 or float in [0, 1], its path, or a folder or list
                of such.

        Returns:
            A `Detection`, or a list of them. Maps have the size of the photo.
        """
        is_path = isinstance(photos, (str, Path))
        if is_path and not Path(photos).is_dir():
            return self._detect(read_photo(photos, self.image_shape[-1]))
        if isinstance(photos, np.ndarray) and photos.ndim in (2, 3):
            return self._detect(*self._photos([photos]))
        return [self._detect(photo) for photo in self._photos(photos)]

    def _detect(self, photo: np.ndarray) -> Detection:
        side = self.image_shape[0]
        tiles = photo_tiles(photo, side)
        # As many tiles as a power of two, so that few programs are compiled.
        padded = np.zeros((2 ** (len(tiles) - 1).bit_length(), *self.image_shape), "float32")
        padded[: len(tiles)] = tiles
        maps = self.predict_on_batch(padded)["map"][: len(tiles)]
        whole = _whole(maps, tile_axes(photo.shape, side))
        return Detection(resize_bicubic(whole[..., None], photo.shape[:2])[..., 0], float(whole.max()))

    def evaluate(self, folder: str | Path) -> dict[str, float]:
        """How well the defects of a folder laid out as MVTec AD are found, see `keras_recon.anomaly.scores`."""
        from keras_recon.anomaly.dataset import load_images
        from keras_recon.anomaly.scores import scores

        images = load_images(folder)
        return scores(images, [self.predict(image.path).map for image in images], threshold=1.0)

    def _photos(self, photos, on_bad: str = "error") -> Sequence[np.ndarray]:
        """Photos of a folder, of paths or of arrays, with the model's number of channels."""
        channels = self.image_shape[-1]

        def read(photo):
            photo = np.asarray(photo) if hasattr(photo, "shape") else read_photo(photo, channels)
            is_float = np.issubdtype(photo.dtype, np.floating)
            if photo.shape[2:] != (channels,) or not (is_float or photo.dtype in (np.uint8, np.uint16)):
                raise ValueError(
                    f"`photos` must be (height, width, {channels}), uint8, uint16 or float in [0, 1]. "
                    f"Received: a photo of shape {photo.shape} and {photo.dtype}"
                )
            if is_float:
                check_range(photo)
            return photo

        is_folder = isinstance(photos, (str, Path))
        files = folder_photos(photos, channels, on_bad) if is_folder else Photos(photos, read, on_bad=on_bad)
        return [photo for i in range(len(files)) if (photo := files.first_usable([i])) is not None]

    def get_config(self):
        parts = {"preset": self.extractor, "method": self.method}
        return {**super().get_config(), **{k: keras.saving.serialize_keras_object(v) for k, v in parts.items()}}

    @classmethod
    def from_config(cls, config):
        parts = {k: keras.saving.deserialize_keras_object(config[k]) for k in ("preset", "method")}
        return super().from_config({**config, **parts})


def _whole(maps: np.ndarray, axes: tuple[Axis, Axis]) -> np.ndarray:
    """The map (height, width) of a resized photo, of those of its tiles (tiles, side, side)."""
    return np.concatenate([*blend(maps[..., None], *axes)])[..., 0]
