import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops

from keras_recon.layers import MaskToken
from keras_recon.ops import (
    count_visible,
    fixed_patch_mask,
    paste_visible,
    random_patch_mask,
    take_tokens,
    visible_indices,
)

HIDDEN = np.array([[[1, 0, 1], [0, 0, 1]], [[0, 0, 1], [1, 1, 0]]], bool)  # (batch, rows, columns)


def to_numpy(x):
    return ops.convert_to_numpy(x)


def test_visible_tokens_are_those_that_numpy_selects():
    tokens = np.random.default_rng(0).standard_normal((2, 6, 4)).astype("float32")
    indices = visible_indices(ops.convert_to_tensor(HIDDEN), 3)
    np.testing.assert_array_equal(to_numpy(indices), [[1, 3, 4], [0, 1, 5]])
    taken = take_tokens(ops.convert_to_tensor(tokens), indices)
    np.testing.assert_array_equal(to_numpy(taken), tokens[~HIDDEN.reshape(2, 6)].reshape(2, 3, 4))


def test_mask_token_puts_them_back():
    layer = MaskToken()
    visible = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")
    layer.build(visible.shape)
    layer.token.assign([1.0, 2.0, 3.0, 4.0])
    expected = np.tile(np.array([1, 2, 3, 4], "float32"), (2, 2, 3, 1))
    expected[~HIDDEN] = visible.reshape(6, 4)
    np.testing.assert_array_equal(to_numpy(layer(visible, patch_mask=HIDDEN)), expected)


def test_mask_token_is_float32_under_any_policy():
    layer = MaskToken(dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(np.ones((2, 3, 4), "float32"), HIDDEN).dtype) == "float32"


def test_random_masks_hide_as_many_everywhere_and_differ():
    seed = keras.random.SeedGenerator(3)
    first, second = (to_numpy(random_patch_mask(200, 3, 4, 5, seed)) for _ in range(2))
    np.testing.assert_array_equal((~first).sum((1, 2)), 5)
    assert not np.array_equal(first, second)
    assert len(np.unique(first.reshape(200, 12), axis=0)) > 150  # of 792 possible ones
    again = to_numpy(random_patch_mask(200, 3, 4, 5, keras.random.SeedGenerator(3)))
    np.testing.assert_array_equal(again, first)
    # Every patch is visible with the chance 5/12, whose standard deviation over 400 images is 0.025.
    share = np.concatenate([~first, ~second]).mean(axis=0)
    assert np.abs(share - 5 / 12).max() < 0.1


def test_the_fixed_mask_is_always_the_same():
    mask = fixed_patch_mask(3, 4, 5)
    assert mask.shape == (1, 3, 4) and mask.sum() == 7
    np.testing.assert_array_equal(mask, fixed_patch_mask(3, 4, 5))


def test_visible_patches_are_pasted():
    images = random_images(2, 8, 12, 3)
    pasted = to_numpy(paste_visible(np.zeros_like(images), images, HIDDEN))
    np.testing.assert_array_equal(pasted, images * ~np.kron(HIDDEN, np.ones((1, 4, 4), bool))[..., None])


def test_counting_refuses_what_no_encoder_can_take():
    assert count_visible(HIDDEN) == 3
    assert count_visible(keras.KerasTensor((None, 2, 3), "bool")) is None
    uneven = HIDDEN.copy()
    uneven[0, 0, 1] = True
    with pytest.raises(ValueError, match=r"with \[2, 3\] visible"):
        count_visible(uneven)
    with pytest.raises(ValueError, match=r"with \[0\] visible"):
        count_visible(np.ones_like(HIDDEN))
