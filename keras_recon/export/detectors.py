"""SavedModels of detectors of defects. TensorFlow is imported where one is written."""

from pathlib import Path

import keras

from keras_recon.anomaly import AnomalyDetector
from keras_recon.models.exportable import check_backend
from keras_recon.utils.files import replacing


def export_detector(detector: AnomalyDetector, folder: str | Path):
    """Write a SavedModel with two signatures, from the TensorFlow or JAX backend.

    `serve`, the default: tiles, float (batch, *image_shape) in [0, 1], to `map` (batch, height, width) and `score`.
    `detect_uint8`: a photo, uint8 (1, height, width, channels) of any size, to `map` (1, height, width) and `score`
    (1,), as `detector.predict`; TensorFlow resizes photos to within a level of what Pillow makes of them.

    Raises:
        RuntimeError: the backend cannot write SavedModels.

    Example:

    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> detector = keras_recon.anomaly.AnomalyDetector(extractor, method="pca")
    >>> detector.adapt(np.random.rand(20, 40, 50, 3).astype("float32"))
    >>> if keras.backend.backend() == "tensorflow":
    ...     keras_recon.export.export_detector(detector, "detector")
    """
    check_backend("tf_saved_model")
    from keras_recon.export.signatures import detect_signature

    archive = keras.export.ExportArchive()
    archive.track(detector)
    images = keras.InputSpec(shape=(None, *detector.image_shape), dtype="float32", name="images")
    serve = archive.add_endpoint("serve", lambda images: detector(images, training=False), [images])
    archive.add_endpoint("detect_uint8", detect_signature(serve, detector.image_shape))
    with replacing(folder) as temporary:
        archive.write_out(str(temporary), verbose=False)
