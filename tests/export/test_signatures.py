import io

import numpy as np
import pytest
import skimage.data
from contracts import random_images
from PIL import Image

from keras_recon.export.signatures import photo_signatures
from keras_recon.images.pixels import MODES, to_channels
from keras_recon.inference import reconstruct

tf = pytest.importorskip("tensorflow", reason="the signatures are TensorFlow's")


def signatures(image_shape, function=lambda tiles: tiles, upscale=1):
    spec = tf.TensorSpec((None, *image_shape), tf.float32)
    return photo_signatures(tf.function(function, input_signature=[spec]), image_shape, upscale)


@pytest.mark.parametrize("image_shape", [(16, 16, 3), (12, 5, 1), (3, 2, 2)])
def test_tiles_blend_to_the_photo_they_were_cut_from(image_shape):
    reconstruct_uint8 = signatures(image_shape)["reconstruct_uint8"]
    rng = np.random.default_rng(0)
    for size in [(1, 1), (1, 50), (7, 3), (16, 16), (15, 4), (33, 40)]:
        photos = rng.integers(0, 256, (2, *size, image_shape[-1]), "uint8")
        np.testing.assert_array_equal(reconstruct_uint8(photos), photos)


class Darker:
    """Stands for a model in `inference.reconstruct`; not the same everywhere in a tile, so that the weights matter."""

    image_shape = (16, 12, 3)
    is_masked = False
    upscale = 1
    slope = np.linspace(0, 1.2, 16 * 12, dtype="float32").reshape(16, 12, 1)

    def predict_on_batch(self, tiles):
        return tiles * self.slope


@pytest.mark.parametrize("size", [(1, 1), (16, 12), (17, 12), (28, 21), (40, 5)])
def test_photos_become_what_they_become_without_tensorflow(size):
    photo = (random_images(1, *size, 3)[0] * 255).astype("uint8")
    served = signatures(Darker.image_shape, Darker().predict_on_batch)["reconstruct_uint8"](photo[None])[0]
    np.testing.assert_allclose(served, reconstruct(Darker(), photo).astype(int), atol=1)


class Larger(Darker):
    """The same, three times as high and wide."""

    upscale = 3

    def predict_on_batch(self, tiles):
        return np.repeat(np.repeat(super().predict_on_batch(tiles), 3, axis=1), 3, axis=2)


@pytest.mark.parametrize("size", [(1, 1), (17, 12), (40, 5)])
def test_photos_become_larger(size):
    photo = (random_images(1, *size, 3)[0] * 255).astype("uint8")

    def enlarge(tiles):
        return tf.repeat(tf.repeat(Darker().predict_on_batch(tiles), 3, axis=1), 3, axis=2)

    served = signatures(Larger.image_shape, enlarge, upscale=3)["reconstruct_uint8"](photo[None])[0]
    assert served.shape == (3 * size[0], 3 * size[1], 3)
    np.testing.assert_allclose(served, reconstruct(Larger(), photo).astype(int), atol=1)


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
