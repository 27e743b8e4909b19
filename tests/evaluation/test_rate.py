import itertools

import numpy as np
import pytest
import scipy.stats
from contracts import random_images
from keras import ops
from models.test_vit import TINY

from keras_recon import metrics, models
from keras_recon.evaluation.rate import STEPS, LatentCoder, RatePoint, bd_rate, coarsest, pixel_gains, rate_curve

SHAPE = (16, 16, 3)


def latents_of(model, images):
    return np.array(ops.convert_to_numpy(model.encode(images)))


def gray(count):
    """Images that no small change of their latents drives out of [0, 1]."""
    return 0.3 + 0.4 * random_images(count, *SHAPE)


def laplacian(shape, scale, seed=0):
    return np.random.default_rng(seed).laplace(3, scale, shape)


def test_gains_of_a_linear_decoder_are_the_norms_of_its_rows():
    model = models.LinearReconstructor(SHAPE, 4, 6)
    model.adapt(gray(20))
    norms = np.linalg.norm(ops.convert_to_numpy(model.linear.decoder), axis=1)
    np.testing.assert_allclose(pixel_gains(model, latents_of(model, gray(8))), norms, rtol=1e-3)


VIT = {**TINY, "image_shape": SHAPE, "patch_size": 4, "latent_dim": 3}
CONV = {"image_shape": SHAPE, "filters": (8, 8), "latent_dim": 3, "normalization": "none", "linear_path": False}


@pytest.mark.parametrize("model_class, config", [(models.ViTReconstructor, VIT), (models.ConvAutoencoder, CONV)])
def test_gains_are_those_of_each_latent_moved_by_itself(model_class, config):
    model = model_class(**config)
    if model.linear_path:
        model.adapt(gray(20))
    latents = latents_of(model, gray(64))
    images = ops.convert_to_numpy(model.decode(latents))
    for channel, gain in enumerate(pixel_gains(model, latents)):
        move = latents[..., channel].std() / 16
        moved = np.stack([latents] * 16)  # (positions, images, rows, columns, latent_dim)
        for position, (row, column) in enumerate(np.ndindex(4, 4)):
            moved[position, :, row, column, channel] += move
        outputs = ops.convert_to_numpy(model.decode(moved.reshape(-1, 4, 4, 3))).reshape(16, *images.shape)
        squares = np.square(outputs - images).sum(axis=(2, 3, 4))
        assert gain == pytest.approx(np.sqrt(squares.mean()) / move, rel=0.1)


def test_rounding_moves_the_pixels_by_the_step_whatever_the_latents_scale():
    model = models.LinearReconstructor(SHAPE, 4, 6)
    images = gray(64)
    model.adapt(images)
    latents = latents_of(model, images)
    gains = pixel_gains(model, latents[:8])
    coder = LatentCoder(latents.reshape(-1, 6), gains, 8 / 255)
    rounded, _ = coder(latents)
    assert (np.abs(rounded - latents).max(axis=(0, 1, 2)) <= 0.5001 * 8 / 255 / gains).all()
    # Of 48 orthonormal coefficients 6 are rounded, each with the variance of an even distribution over the step.
    error = np.mean(np.square(ops.convert_to_numpy(model.decode(rounded) - model.decode(latents))))
    assert error == pytest.approx(6 / 48 * (8 / 255) ** 2 / 12, rel=0.05)


def test_every_integer_has_a_probability_and_all_together_are_one():
    fitted = np.concatenate([laplacian((500, 1), 1.0), np.full((500, 1), 7.0)], axis=1)  # one channel is dead
    for step in (0.01, 1.0, 30.0):
        coder = LatentCoder(fitted, np.ones(2), step)
        for channel in range(2):
            bits = coder.bits(np.arange(-20_000, 20_001), channel)
            assert np.isfinite(bits).all() and (bits >= 0).all()
            assert np.exp2(-bits).sum() == pytest.approx(1, abs=1e-6)
    assert coder.bits(np.array([0]), 1) < 1e-3 and np.isfinite(coder(np.full((1, 1, 1, 2), 1e6))[1])


def test_bytes_are_near_the_entropy_of_a_known_distribution():
    # A fine step: the entropy of what is rounded is that of the density, less the logarithm of the step.
    coder = LatentCoder(laplacian((20_000, 1), 2.0), np.ones(1), 0.25)
    rounded, sizes = coder(laplacian((50, 8, 8, 1), 2.0, seed=1))
    bits = scipy.stats.laplace(scale=2.0).entropy() / np.log(2) - np.log2(0.25)
    assert sizes.mean() == pytest.approx(bits * 64 / 8, rel=0.02)
    assert rounded.dtype == np.float32 and np.array_equal(sizes, np.rint(sizes))
    # Two levels, three times in four the one: 0.811278 bits, which the share of the Laplace distribution adds to.
    levels = np.repeat([0.0, 1.0], [3000, 1000])[:, None]
    _, sizes = LatentCoder(levels, np.ones(1), 1.0)(levels.reshape(1, 40, 100, 1))
    assert 0.811278 < sizes[0] * 8 / 4000 < 0.811278 - np.log2(0.8)


def test_what_an_image_costs_does_not_depend_on_the_others():
    coder = LatentCoder(laplacian((500, 2), 1.0), np.array([1.0, 3.0]), 0.5)
    latents = laplacian((6, 4, 4, 2), 1.5, seed=1)
    rounded, sizes = coder(latents)
    for image in range(6):
        alone, size = coder(latents[image : image + 1])
        np.testing.assert_array_equal(alone[0], rounded[image])
        assert size == sizes[image]


def test_a_latent_that_moves_no_pixel_is_free():
    fitted = laplacian((500, 2), 1.0)
    free, alone = LatentCoder(fitted, np.array([1.0, 0.0]), 0.5), LatentCoder(fitted[:, :1], np.ones(1), 0.5)
    latents = laplacian((3, 8, 8, 2), 1.0, seed=1)
    assert np.abs(free(latents)[1] - alone(latents[..., :1])[1]).max() <= 1


def test_a_curve_is_what_comes_of_each_step():
    images, others = gray(20), gray(40)[20:]
    model = models.LinearReconstructor(SHAPE, 4, 12)
    model.adapt(others)
    batches = [(0.9 * images[i : i + 8], images[i : i + 8]) for i in range(0, 20, 8)]
    curve = rate_curve(model, batches, [others[:12], others[12:]])
    assert [point.step for point in curve] == list(STEPS)
    for finer, coarser in itertools.pairwise(curve):
        assert finer.bytes > coarser.bytes
    fitted = latents_of(model, others)
    coder = LatentCoder(fitted.reshape(-1, 12), pixel_gains(model, fitted[[0, 2, 5, 7, 10, 12, 15, 17]]), 16 / 255)
    rounded, sizes = coder(latents_of(model, 0.9 * images))
    psnr = ops.convert_to_numpy(metrics.psnr(images, model.decode(rounded)))
    assert curve[3] == RatePoint(16, pytest.approx(sizes.mean()), pytest.approx(psnr.mean(), abs=1e-3))


def test_the_tables_point_is_the_coarsest_that_costs_little():
    curve = [RatePoint(2, 90.0, 30.0), RatePoint(4, 70.0, 29.96), RatePoint(8, 50.0, 29.91), RatePoint(16, 30.0, 29.8)]
    assert coarsest(curve, psnr=30.0).step == 8
    assert coarsest(curve, psnr=29.9).step == 16
    assert coarsest(curve, psnr=40.0).step == 2


def test_half_the_bytes_at_equal_psnr_are_a_bd_rate_of_minus_a_half():
    rates, scores = np.array([20.0, 40, 90, 150]), np.array([28.0, 31.0, 34.0, 36.5])
    anchor, half = list(zip(rates, scores)), list(zip(rates / 2, scores))
    assert bd_rate(half, anchor) == pytest.approx(-0.5) and bd_rate(anchor, half) == pytest.approx(1)
    assert bd_rate(anchor, anchor) == 0
    # In any order, and without points that cost more and are no better.
    assert bd_rate([*half[::-1], (60, 34), (70, 33)], anchor) == pytest.approx(-0.5)
    # Over the PSNR that both reach: a tenth more at 31 dB and below, a fifth more at 34 and above.
    more = list(zip(rates[1:3] * [1.1, 1.2], scores[1:3]))
    assert 0.1 < bd_rate(more, anchor) < 0.2


@pytest.mark.parametrize("curve", [[(20, 20.0), (30, 27.0)], [(20, 30.0)]])
def test_curves_without_a_psnr_in_common_have_no_bd_rate(curve):
    assert bd_rate(curve, [(20, 28.0), (40, 31.0)]) is None
