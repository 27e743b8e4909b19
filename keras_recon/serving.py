from collections.abc import Callable

import numpy as np

from keras_recon.data.photos import MODES


def photo_signatures(reconstruct: Callable, image_shape: tuple[int, int, int]) -> dict[str, Callable]:
    """TensorFlow functions, traced, that take photos of any size through `reconstruct`.

    `reconstruct_uint8`: uint8 (batch, height, width, channels) to the same, of any height and width from 1. The photo
    is mirrored at its borders and cut into tiles that overlap by a quarter of their side; neighbours are blended by
    squared sines, which add up to 1. All tiles of a batch are in memory at once: in float32 about 1.8 times the photos,
    and what the network needs for each of them. Send photos of many megapixels one by one.

    `reconstruct_bytes`, for 1, 3 or 4 channels: strings (batch,), JPEG or PNG files of any sizes, to PNG files as
    `image_bytes`, one after the other. As in training, what is transparent is shown over white unless there are 4
    channels; unlike there, TensorFlow does not know the EXIF orientation, so such photos stay as they lie in the file.

    Args:
        reconstruct: a `tf.function` of float images (tiles, *image_shape) in [0, 1] to the same.
        image_shape: (height, width, channels) of a tile.
    """
    import tensorflow as tf

    tile, channels = image_shape[:2], image_shape[-1]
    overlaps = [side // 4 for side in tile]
    strides = [side - overlap for side, overlap in zip(tile, overlaps)]
    window = np.outer(*(_window(side, overlap) for side, overlap in zip(tile, overlaps)))[..., None].astype("float32")

    def positions(size, axis):
        """Where the pixels of each tile lie in the photo, (tiles, side): mirrored beyond the borders."""
        count = -(-(size + overlaps[axis]) // strides[axis])  # until the last pixel is behind the last ramp's start
        index = tf.range(count)[:, None] * strides[axis] + tf.range(tile[axis]) - overlaps[axis]
        index %= 2 * size
        return tf.minimum(index, 2 * size - 1 - index)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, channels), tf.uint8, "images")], autograph=False)
    def reconstruct_uint8(images):
        height, width = tf.unstack(tf.shape(images)[1:3])
        tiles = tf.gather(images, positions(height, 0), axis=1)
        tiles = tf.gather(
            tiles, positions(width, 1), axis=3
        )  # (batch, rows, tile height, columns, tile width, channels)
        tiles = tf.transpose(tiles, (0, 1, 3, 2, 4, 5))  # (batch, rows, columns, *image_shape)
        grid = tf.shape(tiles)
        tiles = reconstruct(tf.cast(tf.reshape(tiles, (-1, *image_shape)), tf.float32) / 255.0) * window
        tiles = tf.transpose(tf.reshape(tiles, grid), (0, 5, 1, 3, 2, 4))
        strips = tf.signal.overlap_and_add(tiles, strides[1])  # (batch, channels, rows, tile height, width and more)
        photos = tf.signal.overlap_and_add(tf.transpose(strips, (0, 1, 4, 2, 3)), strides[0])
        photos = tf.transpose(photos, (0, 3, 2, 1))[:, overlaps[0] :, overlaps[1] :][:, :height, :width]
        return tf.cast(tf.round(tf.clip_by_value(photos, 0.0, 1.0) * 255.0), tf.uint8)

    def decode(data):
        """uint8 (height, width, channels) of a file, as `keras_recon.data.photos.to_channels` gives it."""
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

    def reconstruct_file(data):
        return tf.io.encode_png(reconstruct_uint8(decode(data)[None])[0])

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


def _window(side: int, overlap: int) -> np.ndarray:
    """Weights (side,) that add up to 1 where tiles overlap: ones between two ramps."""
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    return np.concatenate([ramp, np.ones(side - 2 * overlap), ramp[::-1]])
