import numpy as np
import pytest
from contracts import check_layer, random_images
from keras import ops

from keras_recon.layers import ConvDecoder, ConvEncoder, ResidualBlock, Upsample
from keras_recon.layers.conv import NORMALIZATIONS, UPSAMPLINGS


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_residual_block(normalization):
    config = {"normalization": normalization, "dropout_rate": 0.1}
    check_layer(ResidualBlock, config, random_images(2, 6, 8, 4), (2, 6, 8, 4))


def test_residual_block_is_pre_activation():
    block, x = ResidualBlock("none"), random_images(1, 5, 5, 2) - 0.5
    outputs = ops.convert_to_numpy(block(x))

    def conv(x, layer):  # correlation with zero padding, tap by tap
        kernel, padded = ops.convert_to_numpy(layer.kernel), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(padded[:, i : i + 5, j : j + 5] @ kernel[i, j] for i in range(3) for j in range(3))

    expected = x + conv(np.maximum(conv(np.maximum(x, 0), block.convs[0]), 0), block.convs[1])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("method", UPSAMPLINGS)
def test_upsample(method):
    check_layer(Upsample, {"filters": 5, "method": method}, random_images(2, 4, 6, 3), (2, 8, 12, 5))
    zeros = Upsample(5, method, zero_init=True)(random_images(2, 4, 6, 3))
    assert not ops.convert_to_numpy(zeros).any()


@pytest.mark.parametrize("method", ["pixel_shuffle", "resize"])
def test_upsampling_starts_without_checkerboard(method):
    """A constant image stays constant away from the zero padding."""
    outputs = ops.convert_to_numpy(Upsample(2, method)(np.ones((1, 6, 6, 3), "float32")))[:, 3:-3, 3:-3]
    np.testing.assert_allclose(outputs, np.broadcast_to(outputs[:, :1, :1], outputs.shape), atol=1e-6)


def test_pixel_shuffle_starts_as_nearest_neighbour():
    outputs = ops.convert_to_numpy(Upsample(2)(random_images(1, 4, 4, 3)))
    np.testing.assert_allclose(outputs, outputs[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2), atol=1e-6)


def test_pyramid_goes_down_and_up():
    images = random_images(2, 16, 24, 3)
    shared = {"filters": (4, 6, 8), "num_blocks": 1, "normalization": "batch"}
    features = ConvEncoder(**shared)(images)
    assert [tuple(f.shape) for f in features] == [(2, 8, 12, 4), (2, 4, 6, 6), (2, 2, 3, 8)]
    check_layer(ConvDecoder, {"channels": 3, **shared}, ops.convert_to_numpy(features[-1]), (2, 16, 24, 3))
    decoder = ConvDecoder(channels=3, **shared)
    alone, skipped = decoder(features[-1]), decoder(features[-1], features)
    assert skipped.shape == alone.shape and not np.allclose(*map(ops.convert_to_numpy, (alone, skipped)))
    encoder = ConvEncoder(**shared)
    assert ConvEncoder.from_config(encoder.get_config()).get_config() == encoder.get_config()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ResidualBlock("instance"), "normalization='instance'"),
        (lambda: Upsample(3, "bilinear"), "upsampling='bilinear'"),
        (lambda: ConvEncoder((), 1), r"filters=\(\)"),
        (lambda: ConvEncoder((4, 4), 0), "num_blocks=0"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
