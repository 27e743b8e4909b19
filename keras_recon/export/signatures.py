"""Signatures of a SavedModel that take whole photos. TensorFlow only: imported where a SavedModel is written."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_recon.anomaly import AnomalyDetector
from keras_recon.features.extractor import OVERLAP
from keras_recon.images.pixels import MODES
from keras_recon.images.tiles import Axis
from keras_recon.inference import tile_overlaps
from keras_recon.models.image_model import check_backend
from keras_recon.utils.files import replacing


def photo_signatures(reconstruct: Callable, image_shape: tuple[int, int, int], upscale: int = 1) -> dict[str, Callable]:
    """TensorFlow functions, traced, that take photos of any size through `reconstruct`.

    `reconstruct_uint8`: uint8 (batch, height, width, channels) to the same, `upscale` times as high and wide, of any
    size from 1x1 on, by the tiles of `keras_recon.reconstruct`. All of them are in memory at once: in float32 some 7
    bytes for each byte of the photos, a few times over, and what the network needs. Send photos of many megapixels one
    by one.

    `reconstruct_bytes`, for 1, 3 or 4 channels: strings (batch,), JPEG or PNG files of any sizes, to PNG files as
    `image_bytes`, one after the other. As in training, what is transparent is shown over white unless there are 4
    channels; unlike there, TensorFlow does not know the EXIF orientation, so such photos stay as they lie in the file.

    Args:
        reconstruct: a `tf.function` of float images (tiles, *image_shape) in [0, 1] to the same, or to larger ones.
        image_shape: (height, width, channels) of a tile.
        upscale: how many times as high and wide as a tile what `reconstruct` makes of it is.
    """
    channels = image_shape[-1]

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, channels), tf.uint8, "images")], autograph=False)
    def reconstruct_uint8(images):
        overlaps = tile_overlaps(image_shape[:2], None)
        photos = reconstruct_tiles(reconstruct, images, image_shape, overlaps, upscale)
        return tf.cast(tf.round(tf.clip_by_value(photos, 0.0, 1.0) * 255.0), tf.uint8)

    def reconstruct_file(data):
        return tf.io.encode_png(reconstruct_uint8(decode_file(data, channels)[None])[0])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")], autograph=False)
    def reconstruct_bytes(image_bytes):
        # One photo at a time, for the memory. TensorFlow Serving encodes what is called "_bytes" for JSON.
        photos = tf.map_fn(reconstruct_file, image_bytes, parallel_iterations=1, fn_output_signature=tf.string)
        return {"image_bytes": photos}

    signatures = {"reconstruct_uint8": reconstruct_uint8}
    if channels in MODES:
        signatures["reconstruct_bytes"] = reconstruct_bytes
    for function in signatures.values():
        function.get_concrete_function()
    return signatures


def detect_signature(detect: Callable, image_shape: tuple[int, int, int]) -> Callable:
    """A TensorFlow function, traced, that searches a photo of any size, uint8 (1, height, width, channels).

    Args:
        detect: a `tf.function` of float images (tiles, *image_shape) in [0, 1] to their `map` (tiles, height, width).
        image_shape: (height, width, channels) of a square tile.
    """
    side, channels = image_shape[1:]

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, channels), tf.uint8, "images")], autograph=False)
    def detect_uint8(images):
        size = tf.shape(images)[1:3]
        scale = side / tf.cast(tf.reduce_min(size), tf.float64)
        resized = tf.maximum(side, tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32))
        photos = tf.image.resize(images, resized, "bicubic", antialias=True)
        overlap = side // OVERLAP
        maps = reconstruct_tiles(
            lambda tiles: detect(tiles)["map"][..., None], photos, image_shape, (overlap, overlap), upscale=1
        )
        return {
            "map": tf.image.resize(maps, size, "bicubic", antialias=True)[..., 0],
            "score": tf.reduce_max(maps, axis=(1, 2, 3)),
        }

    detect_uint8.get_concrete_function()
    return detect_uint8


def reconstruct_tiles(
    reconstruct: Callable,
    photos: tf.Tensor,
    image_shape: tuple[int, int, int],
    overlaps: tuple[int, int],
    upscale: int,
) -> tf.Tensor:
    """Photos (batch, height, width, channels) up to 255 through `reconstruct`, as `keras_recon.reconstruct`, to float.

    `overlaps`: rows and columns that neighbouring tiles share.
    """
    # Three tiles: the last one's weights rise at its start, the first one's fall at its end.
    axes = [Axis(3 * tile - 2 * overlap, tile, overlap) for tile, overlap in zip(image_shape, overlaps)]
    sizes = tf.unstack(tf.shape(photos)[1:3])
    down, across = (_cut(*pair) for pair in zip(sizes, axes))
    tiles = tf.gather(tf.gather(photos, down, axis=1), across, axis=3)
    tiles = tf.transpose(tiles, (0, 1, 3, 2, 4, 5))  # (batch, rows, columns, *image_shape)
    grid = tf.shape(tiles)[:3]
    tiles = reconstruct(tf.cast(tf.reshape(tiles, (-1, *image_shape)), tf.float32) / 255.0)
    tiles = tf.reshape(tiles, tf.concat([grid, tf.shape(tiles)[1:]], axis=0))
    rows, columns = (axis.scaled(upscale) for axis in axes)
    row_weights, column_weights = _weights(grid[1], rows), _weights(grid[2], columns)
    tiles *= row_weights[:, None, :, None, None] * column_weights[:, None, :, None]
    tiles = tf.transpose(tiles, (0, 5, 1, 3, 2, 4))
    strips = tf.signal.overlap_and_add(tiles, columns.stride)  # (batch, channels, rows, tile height, width or more)
    photos = tf.signal.overlap_and_add(tf.transpose(strips, (0, 1, 4, 2, 3)), rows.stride)
    return tf.transpose(photos, (0, 3, 2, 1))[:, : upscale * sizes[0], : upscale * sizes[1]]


def _cut(length: tf.Tensor, axis: Axis):
    """`Axis.pixels` of each tile, (tiles, tile), for a length that is a tensor."""
    count = tf.maximum(1, -((axis.overlap - length) // axis.stride))
    pixels = (tf.range(count)[:, None] * axis.stride + tf.range(axis.tile)) % (2 * length)
    return tf.minimum(pixels, 2 * length - 1 - pixels)


def _weights(count: tf.Tensor, axis: Axis):
    """`Axis.weights`, (tiles, tile), for a number of tiles that is a tensor."""
    index = tf.range(count)[:, None]
    rising, _, falling = axis.weights()[::-1]
    return tf.where(index == 0, 1.0, rising) * tf.where(index == count - 1, 1.0, falling)


def decode_file(data: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (height, width, channels) of a JPEG or PNG, as `keras_recon.images.pixels.to_channels` gives it."""
    pixels = tf.cond(
        tf.io.is_jpeg(data),
        # By default TensorFlow decodes faster, to other values than Pillow.
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        # The channels of the file, from 1 to 4: asked for 4, TensorFlow adds a wrong alpha to palettes.
        lambda: tf.io.decode_png(data),
    )
    pixels = tf.cast(pixels, tf.float32)
    count = tf.shape(pixels)[-1]
    alpha = tf.where(count % 2 == 0, pixels[..., -1:], 255.0)
    colours = pixels[..., : count - (count + 1) % 2] + tf.zeros(3)
    if channels == 4:
        return tf.ensure_shape(tf.cast(tf.concat([colours, alpha], axis=-1), tf.uint8), (None, None, 4))
    colours = 255.0 + (colours - 255.0) * (alpha / 255.0)
    if channels == 1:
        colours = tf.reduce_sum(colours * (0.299, 0.587, 0.114), axis=-1, keepdims=True)
    return tf.cast(tf.round(colours), tf.uint8)


def export_detector(detector: AnomalyDetector, folder: str | Path):
    """Write a SavedModel with two signatures, from the TensorFlow or JAX backend.

    `serve`, the default: tiles, float (batch, *image_shape) in [0, 1], to `map` (batch, height, width) and `score`.
    `detect_uint8`: a photo, uint8 (1, height, width, channels) of any size, to `map` (1, height, width) and `score`
    (1,), as `detector.detect`; TensorFlow resizes photos to within a level of what Pillow makes of them.

    Raises:
        RuntimeError: the backend cannot write SavedModels.

    Example:

    >>> from keras_hub.models import ViTBackbone
    >>> backbone = ViTBackbone((32, 32, 3), patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)
    >>> extractor = keras_recon.features.FeatureExtractor(backbone, depths=(2, 3))
    >>> detector = keras_recon.anomaly.AnomalyDetector(extractor, method="nearest")
    >>> detector.fit_good(np.random.rand(20, 40, 50, 3).astype("float32"))
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
