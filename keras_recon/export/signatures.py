"""Signatures of a SavedModel for photos of any size. This module needs TensorFlow: import it where one is written."""

from collections.abc import Callable

import tensorflow as tf

from keras_recon.features.extractor import OVERLAP
from keras_recon.images.pixels import MODES
from keras_recon.images.tiles import Axis
from keras_recon.inference import tile_overlaps


def photo_signatures(reconstruct: Callable, image_shape: tuple[int, int, int], upscale: int = 1) -> dict[str, Callable]:
    """Make traced TensorFlow functions that reconstruct photos.

    - `reconstruct_uint8` maps uint8 (batch, height, width, channels), from 1x1 pixels, to the same with `upscale` times
      the height and width. It uses the tiles of `keras_recon.reconstruct`, all in memory at once: several times 7 bytes
      in float32 for each byte of the photos, and the memory of the network. Send large photos one by one.
    - `reconstruct_bytes`, for 1, 3 or 4 channels, maps JPEG or PNG files of any sizes, strings (batch,), to PNG files
      under the key `image_bytes`, one after the other. As in training, transparent pixels are blended with white
      unless there are 4 channels. The EXIF orientation is ignored, because TensorFlow does not read it.

    Args:
        reconstruct: A `tf.function` of float images (tiles, *image_shape) in [0, 1].
        image_shape: (height, width, channels) of a tile.
        upscale: Factor between the sides of outputs and inputs.

    Returns:
        The functions by name.
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
        # One photo at a time, to save memory. TensorFlow Serving encodes names that end in "_bytes" as base64 in JSON.
        photos = tf.map_fn(reconstruct_file, image_bytes, parallel_iterations=1, fn_output_signature=tf.string)
        return {"image_bytes": photos}

    signatures = {"reconstruct_uint8": reconstruct_uint8}
    if channels in MODES:
        signatures["reconstruct_bytes"] = reconstruct_bytes
    for function in signatures.values():
        function.get_concrete_function()
    return signatures


def detect_signature(detect: Callable, image_shape: tuple[int, int, int]) -> Callable:
    """Make a traced TensorFlow function that detects anomalies in a photo, uint8 (1, height, width, channels).

    Args:
        detect: A `tf.function` of float images (tiles, *image_shape) in [0, 1] that returns a dictionary with `map`
            (tiles, height, width).
        image_shape: (height, width, channels) of a square tile.

    Returns:
        The function. It returns a dictionary of `map` (1, height, width) and `score` (1,).
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
    """Reconstruct photos tile by tile and blend the tiles, as `keras_recon.reconstruct` does.

    Args:
        reconstruct: Function of float images (tiles, *image_shape) in [0, 1].
        photos: (batch, height, width, channels) in [0, 255].
        image_shape: (height, width, channels) of a tile.
        overlaps: Rows and columns that neighbouring tiles share.
        upscale: Factor between the sides of outputs and inputs.

    Returns:
        Float photos (batch, upscale * height, upscale * width, channels), in the range of `reconstruct`.
    """
    # Axes of three tiles: the last tile's weights rise at its start, the first one's fall at its end.
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
    """Compute `Axis.pixels` of each tile, (tiles, tile), for a length that is a tensor."""
    count = tf.maximum(1, -((axis.overlap - length) // axis.stride))
    pixels = (tf.range(count)[:, None] * axis.stride + tf.range(axis.tile)) % (2 * length)
    return tf.minimum(pixels, 2 * length - 1 - pixels)


def _weights(count: tf.Tensor, axis: Axis):
    """Compute `Axis.weights`, (tiles, tile), for a number of tiles that is a tensor."""
    index = tf.range(count)[:, None]
    rising, _, falling = axis.weights()[::-1]
    return tf.where(index == 0, 1.0, rising) * tf.where(index == count - 1, 1.0, falling)


def decode_file(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decode a JPEG or PNG file as `keras_recon.images.pixels.to_channels` does.

    Args:
        data: Bytes of the file, a scalar string.
        channels: 1, 3 or 4.

    Returns:
        uint8 (height, width, channels).
    """
    pixels = tf.cond(
        tf.io.is_jpeg(data),
        # TensorFlow's default is faster, but its values differ from Pillow's.
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        # The channels of the file, 1 to 4: asked for 4, TensorFlow adds a wrong alpha channel to palettes.
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
