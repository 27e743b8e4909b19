import io

import numpy as np
import pytest
from contracts import random_images
from keras import ops
from PIL import Image, features

from keras_recon import metrics
from keras_recon.evaluation.rate import at_bytes, payload, transmit

AVIF = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF here")


def saved(image, codec, **options):
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, codec, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "codec, options", [("jpeg", {}), ("webp", {"method": 6}), pytest.param("avif", {}, marks=AVIF)]
)
def test_codecs_are_those_of_pillow(codec, options, channels):
    images = random_images(3, 32, 48, channels)
    decoded, sizes = transmit(images, codec, 40)
    assert decoded.shape == images.shape and decoded.dtype == np.float32
    for image, output, size in zip(np.rint(images * 255).astype("uint8"), decoded, sizes):
        file = saved(image, codec, quality=40, **options)
        with Image.open(io.BytesIO(file)) as received:
            expected = np.asarray(received.convert("L" if channels == 1 else "RGB")).reshape(image.shape)
        np.testing.assert_array_equal(np.rint(output * 255), expected)
        assert size == payload(file)


def test_of_a_jpeg_only_the_coded_data_counts():
    image = (255 * random_images(1, 32, 48, 3)[0]).astype("uint8")
    file = saved(image, "jpeg", quality=40)
    size = payload(file)
    assert file[-2:] == b"\xff\xd9" and file[-size - 2 - 14 : -size - 2][:2] == b"\xff\xda"  # 14 bytes of SOS for RGB
    # Tables, comments and a profile count for nothing.
    more = saved(image, "jpeg", quality=40, comment="a" * 1000, icc_profile=b"b" * 3000)
    assert len(more) > len(file) + 4000 and payload(more) == size
    # One grey: per block and component a DC and an end-of-block code. In the standard tables (ITU-T T.81, K.3) a
    # difference of 0 takes 2 bits, end of block 4 bits in luma and 2 in chroma: 4 * 6 + 2 * 4 = 32 bits for 16x16.
    gray = np.full((16, 16, 3), 128, "uint8")
    assert payload(saved(gray, "jpeg", quality=40)) == 4


@pytest.mark.parametrize("codec, options", [("webp", {"method": 6}), pytest.param("avif", {}, marks=AVIF)])
def test_of_other_codecs_the_whole_file_counts(codec, options):
    image = (255 * random_images(1, 32, 48, 4)[0]).astype("uint8")
    file = saved(image, codec, quality=40, **options)
    assert payload(file) == len(file) == transmit(image[None] / 255, codec, 40)[1][0]


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_the_greatest_quality_within_a_budget(codec):
    images = random_images(3, 32, 32, 3)
    means = [transmit(images, codec, quality)[1].mean() for quality in range(1, 101)]
    budget = means[59] + 0.1
    coded, curve = at_bytes(codec, images, budget)
    assert coded.quality == max(quality for quality, size in enumerate(means, 1) if size <= budget)
    assert coded.bytes == pytest.approx(means[coded.quality - 1])
    expected = ops.convert_to_numpy(metrics.psnr(images, transmit(images, codec, coded.quality)[0]))
    assert coded.psnr == pytest.approx(np.mean(expected), abs=1e-3)
    sizes = [c.bytes for c in curve]
    assert sizes == sorted(sizes) and coded.quality in [c.quality for c in curve]
    coded, curve = at_bytes(codec, images, means[0] - 1)
    assert coded is None and curve[0].quality == 1
