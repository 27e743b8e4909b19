import io

import numpy as np
import pytest
import skimage.data
from contracts import random_images
from PIL import Image

from keras_recon.data.photos import MODES, to_channels
from keras_recon.serving import photo_signatures

tf = pytest.importorskip("tensorflow", reason="the signatures are TensorFlow's")


def signatures(image_shape, function=lambda tiles: tiles):
    spec = tf.TensorSpec((None, *image_shape), tf.float32)
    return photo_signatures(tf.function(function, input_signature=[spec]), image_shape)


def blend(function, photo, image_shape):
    """The reconstruction of one photo as a loop over tiles, in float64."""
    overlaps = [side // 4 for side in image_shape[:2]]
    mirrored = np.pad(photo / 255, [(o, 2 * side) for o, side in zip(overlaps, image_shape)] + [(0, 0)], "symmetric")
    window = np.ones((1, 1, 1))
    for axis, (overlap, side) in enumerate(zip(overlaps, image_shape)):
        from_border = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
        ramp = np.sin(np.pi / 2 * np.minimum(1, from_border / max(overlap, 0.5))) ** 2
        window = window * np.expand_dims(ramp, (1 - axis, 2))
    total, weight = np.zeros_like(mirrored), np.zeros_like(mirrored)
    rows, columns = (range(0, p + o, s - o) for p, o, s in zip(photo.shape, overlaps, image_shape))
    for top in rows:
        for left in columns:
            place = np.s_[top : top + image_shape[0], left : left + image_shape[1]]
            total[place] += function(mirrored[place]) * window
            weight[place] += window
    inside = tuple(slice(o, o + size) for o, size in zip(overlaps, photo.shape))
    np.testing.assert_allclose(weight[inside], 1)
    return np.clip(total[inside], 0, 1) * 255


@pytest.mark.parametrize("image_shape", [(16, 16, 3), (12, 5, 1), (3, 2, 2)])
def test_tiles_blend_to_the_photo_they_were_cut_from(image_shape):
    reconstruct = signatures(image_shape)["reconstruct_uint8"]
    rng = np.random.default_rng(0)
    for size in [(1, 1), (1, 50), (7, 3), (16, 16), (15, 4), (33, 40)]:
        photos = rng.integers(0, 256, (2, *size, image_shape[-1]), "uint8")
        np.testing.assert_array_equal(reconstruct(photos), photos)


def test_every_tile_goes_through_the_function_and_is_weighted():
    def darken(tiles):  # not the same everywhere in a tile, so that the weights matter
        return tiles * np.linspace(0, 1.2, 16 * 12).reshape(16, 12, 1)

    reconstruct = signatures((16, 12, 3), lambda tiles: tf.cast(darken(tf.cast(tiles, tf.float64)), tf.float32))
    for size in [(1, 1), (16, 12), (20, 41)]:
        photo = (random_images(1, *size, 3)[0] * 255).astype("uint8")
        got = reconstruct["reconstruct_uint8"](photo[None])[0].numpy()
        np.testing.assert_allclose(got, blend(darken, photo, (16, 12, 3)), atol=0.51)


def file(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", MODES)
def test_files_are_decoded_as_pillow_does(channels):
    colour = Image.fromarray(skimage.data.astronaut()[::9, ::7])
    transparent = colour.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(colour.size))
    pictures = [
        (colour, "JPEG", {"quality": 90}),
        (colour.convert("L").resize((9, 5)), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("L"), "PNG", {}),
        (colour.convert("1"), "PNG", {}),
        (colour.convert("LA"), "PNG", {}),
        (colour.quantize(16), "PNG", {}),
        (transparent.quantize(16), "PNG", {}),
        (transparent, "PNG", {}),
    ]
    files = [file(picture, format, **options) for picture, format, options in pictures]
    answers = signatures((16, 16, channels))["reconstruct_bytes"](tf.constant(files))["image_bytes"].numpy()
    for encoded, answer in zip(files, answers):
        with Image.open(io.BytesIO(encoded)) as sent, Image.open(io.BytesIO(answer)) as received:
            assert received.format == "PNG" and received.mode == MODES[channels]
            expected = to_channels(sent, channels).astype(int)
            np.testing.assert_allclose(np.asarray(received).reshape(expected.shape), expected, atol=1)


def test_files_need_channels_that_files_have():
    assert set(signatures((16, 16, 2))) == {"reconstruct_uint8"}
