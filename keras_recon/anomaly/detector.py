"""The anomaly detector: fits features of good photos and finds patches that differ."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_recon.anomaly.auroc import scores
from keras_recon.anomaly.methods import DefectClassifier, Ensemble, NearestPatch, PositionGaussian
from keras_recon.anomaly.mvtec import load_images
from keras_recon.anomaly.synthetic import damaged_photos
from keras_recon.data import Photos, folder_photos, read_photo
from keras_recon.features import FeatureExtractor, photo_features, photo_tiles
from keras_recon.features.extractor import tile_axes
from keras_recon.images.pixels import resize_bicubic
from keras_recon.images.tiles import blend
from keras_recon.models.image_model import check_range, export_signature
from keras_recon.utils.files import replacing
from keras_recon.version import __version__

METHODS = {"ensemble": Ensemble, "classifier": DefectClassifier, "nearest": NearestPatch, "gaussian": PositionGaussian}
REMOVED = ("FeatureDecoder", "PCAResidual")  # methods of version 0.1


class Detection(NamedTuple):
    """Anomaly map of a photo, (height, width), and its score; values above 1 exceed the threshold.

    Example:
    >>> keras_recon.anomaly.Detection(np.zeros((48, 64)), score=1.2).is_anomalous
    True
    """

    map: np.ndarray
    score: float

    @property
    def is_anomalous(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > 1


@keras.saving.register_keras_serializable("keras_recon")
class AnomalyDetector(keras.Model):
    """Detects defects as patches whose features, from a pretrained backbone, differ from those of good photos.

        photo -> tiles -> FeatureExtractor -> method -> distances of patches / threshold -> map -> its maximum

    `fit_good` fits the detector to good photos, `detect` finds defects in photos of any size, and `score` measures it
    on a test set. As a Keras model, it maps square tiles, float (batch, *image_shape) in [0, 1], to a dictionary of
    `map` (batch, height, width) and `score` (batch,).

    A map is the mean of two: the second one is computed from the tile shifted by half a patch down and to the right,
    because a small defect at the corner of four patches changes each of them little.

    Args:
        preset: a keras-hub preset, `hf://owner/name`, a local folder in Keras or Hugging Face layout, or a
            `keras_recon.features.FeatureExtractor` for square images.
        method: a name or a layer with `adapt(features)` that maps features (batch, rows, columns, features) to
            distances (batch, rows, columns), for example `NearestPatch(20_000)`. Names are:
            `"classifier"`, trained with synthetic defects;
            `"nearest"`, the distance from the nearest good patch;
            `"gaussian"`, the Mahalanobis distance at each position;
            `"ensemble"`, the sum of the first two and a Gaussian of all patches.
        side: side of the tiles in pixels. Photos are resized so that their shorter side has this length.
        depths: blocks of the preset's backbone that are read, see `FeatureExtractor.from_preset`.
        channels: number of channels of the photos.

    Attributes:
        threshold: distance above which a patch is anomalous, estimated on good photos that the method did not see.

    Example:
    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> detector = keras_recon.anomaly.AnomalyDetector(extractor, method="nearest")
    >>> good = np.random.rand(20, 40, 50, 3).astype("float32")
    >>> detector.fit_good(good)
    >>> found = detector.detect(good[0])
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

    @property
    def threshold(self) -> float:
        """Distance above which a patch is anomalous."""
        return float(self.threshold_weight.value)

    def fit_good(
        self, photos, held_out=0.2, false_alarms: float = 0.05, cache: str | Path | None = None, on_bad: str = "error"
    ):
        """Fit the method to good photos, and the threshold to good photos that the method did not see.

        Args:
            photos: a folder, which is searched recursively, a list of paths, or arrays (height, width, channels),
                uint8, uint16 or float in [0, 1].
            held_out: other good photos for the threshold, or the share of `photos` that is held out for it. The share
                is taken from the end; the method is fitted to all photos once the threshold is known. If several
                photos show the same object, pass photos of other objects: known objects give too low a threshold.
            false_alarms: share of good photos that may be above the threshold, in [0, 1).
            cache: folder in which features are kept, see `keras_recon.features.photo_features`.
            on_bad: "skip" or "error" for files that cannot be read.

        Raises:
            ValueError: if an argument is invalid or a photo cannot be read.
        """
        if not 0 <= false_alarms < 1:
            raise ValueError(f"`false_alarms` must be from 0 to below 1. Received: false_alarms={false_alarms}")
        photos, side = self._photos(photos, on_bad), self.image_shape[0]
        if isinstance(held_out, (int, float)):
            count = len(photos) - math.ceil(held_out * len(photos))
            if not 0 < count < len(photos):
                raise ValueError(
                    f"`held_out` must leave photos for the method and for the threshold. "
                    f"Received: held_out={held_out} of {len(photos)} photos"
                )
            others = photos[count:]
        else:
            count, others = len(photos), self._photos(held_out, on_bad)
        known = [photo_features(self.extractor, photos, cache)]
        if getattr(self.method, "learns_defects", False):
            damaged, shares = damaged_photos(photos, side, side // self.extractor.feature_shape[0])
            known += [photo_features(self.extractor, damaged, cache), shares]
        tiles = sum(math.prod(axis.count for axis in tile_axes(photo.shape, side)) for photo in photos[:count])
        self.method.adapt(*(part[:tiles] for part in known))
        self.threshold_weight.assign(1.0)
        levels = np.sort([self._detect(photo).score for photo in others])
        # With this rank, a new good photo is above the threshold with a probability of at most `false_alarms`.
        rank = math.ceil((1 - false_alarms) * (len(levels) + 1))
        self.threshold_weight.assign(max(levels[min(rank, len(levels)) - 1], 1e-6))
        if count < len(photos):
            self.method.adapt(*known)

    def _maps(self, images):
        distances = self.method(self.extractor(images)) / self.threshold_weight  # (batch, rows, columns)
        return ops.image.resize(distances[..., None], self.image_shape[:2], data_format="channels_last")

    def call(self, images):
        half = self.image_shape[0] // self.extractor.feature_shape[0] // 2
        maps = self._maps(images)
        if half:
            shifted = ops.pad(images, ((0, 0), (0, half), (0, half), (0, 0)), "reflect")[:, half:, half:]
            shifted = ops.pad(self._maps(shifted), ((0, 0), (half, 0), (half, 0), (0, 0)), "symmetric")
            maps = (maps + shifted[:, :-half, :-half]) / 2
        maps = maps[..., 0]
        return {"map": maps, "score": ops.max(maps, axis=(1, 2))}

    def detect(self, photos) -> Detection | list[Detection]:
        """Find anomalies in a photo, or in each of several.

        Args:
            photos: a photo (height, width, channels), uint8, uint16 or float in [0, 1], or its path; or a folder or a
                list of photos or paths.

        Returns:
            A `Detection` with a map of the size of the photo; a list of them for several photos.
        """
        is_path = isinstance(photos, (str, Path)) and not Path(photos).is_dir()
        if is_path or (isinstance(photos, np.ndarray) and photos.ndim in (2, 3)):
            return self._detect(*self._photos([photos]))
        return [self._detect(photo) for photo in self._photos(photos)]

    def _detect(self, photo: np.ndarray) -> Detection:
        side = self.image_shape[0]
        tiles = photo_tiles(photo, side)
        # The batch size is a power of two, so that few programs are compiled.
        padded = np.zeros((2 ** (len(tiles) - 1).bit_length(), *self.image_shape), "float32")
        padded[: len(tiles)] = tiles
        maps = self.predict_on_batch(padded)["map"][: len(tiles), ..., None]
        whole = np.concatenate([*blend(maps, *tile_axes(photo.shape, side))])
        return Detection(resize_bicubic(whole, photo.shape[:2])[..., 0], float(whole.max()))

    def score(self, folder: str | Path) -> dict[str, float]:
        """Measure the detector on a folder in the layout of MVTec AD, see `keras_recon.anomaly.scores`."""
        images = load_images(folder)
        return scores(images, [self.detect(image.path).map for image in images], threshold=1.0)

    def _photos(self, photos, on_bad: str = "error") -> Sequence[np.ndarray]:
        """Read the photos of a folder, of paths or of arrays, with the model's number of channels."""
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

    def quantize(self, mode=None, **kwargs):
        """Quantise the backbone, whose config is saved with its dtype policies, see `keras.Model.quantize`."""
        self.extractor.backbone.quantize(mode, **kwargs)
        self.predict_function = None  # compiled before

    def save(self, filepath, overwrite=True, **kwargs):
        """Write the file atomically, see `keras.Model.save`."""
        if not overwrite:  # Keras asks before it overwrites a file
            return super().save(filepath, overwrite=False, **kwargs)
        with replacing(filepath) as temporary:
            super().save(temporary, **kwargs)

    def load_own_variables(self, store):
        self.threshold_weight.assign(store["0"])  # files of version 0.1 also hold states of seed generators

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """Export the maps and scores of tiles, see `keras.Model.export`.

        Raises:
            RuntimeError: if the backend cannot write the format.
        """
        signature = export_signature(self.image_shape, format) if input_signature is None else input_signature
        return super().export(filepath, format, verbose, signature, **kwargs)

    def get_build_config(self):
        return {"keras_recon": __version__}  # `load_model` names the version if it cannot load a newer file

    def build_from_config(self, config):
        """Do nothing: `__init__` builds the model."""

    def get_config(self):
        parts = {"preset": self.extractor, "method": self.method}
        return {"name": self.name, **{k: keras.saving.serialize_keras_object(v) for k, v in parts.items()}}

    @classmethod
    def from_config(cls, config):
        if removed := [name for name in REMOVED if f"'{name}'" in str(config["method"])]:
            raise ValueError(
                f"`method` must be one of {[*METHODS]}: fit a new detector. Received: {removed[0]}, which was removed"
            )
        parts = {k: keras.saving.deserialize_keras_object(config[k]) for k in ("preset", "method")}
        return cls(name=config["name"], **parts)
