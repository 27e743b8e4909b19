"""Layers in a functional model whose inputs have no fixed height, width or number of tokens."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_recon import layers
from keras_recon.ops import inverse_lapped_transform, lapped_transform, patchify, unpatchify

CASES = {
    "ResidualBlock": (lambda: layers.ResidualBlock("batch"), (4, 6, 8), (8, 4, 8)),
    "Upsample": (lambda: layers.Upsample(4), (4, 6, 8), (2, 2, 8)),
    "resize": (lambda: layers.Upsample(4, "resize"), (4, 6, 8), (2, 2, 8)),
    "transposed": (lambda: layers.Upsample(4, "transposed"), (4, 6, 8), (2, 2, 8)),
    "ConvEncoder": (lambda: layers.ConvEncoder((4, 8), 1), (8, 12, 3), (4, 8, 3)),
    "ConvDecoder": (lambda: layers.ConvDecoder(3, (4, 8), 1), (2, 3, 5), (4, 1, 5)),
    "PixelRefiner": (lambda: layers.PixelRefiner(4), (8, 12, 3), (4, 6, 3)),
    "LinearDecoder": (lambda: layers.LinearDecoder(4, 3), (2, 3, 5), (4, 1, 5)),
    "TransformerBlock": (lambda: layers.TransformerBlock(2, 16), (5, 8), (3, 8)),
    "patchify": (lambda: lambda x: patchify(x, 4), (8, 12, 3), (4, 8, 3)),
    "unpatchify": (lambda: lambda x: unpatchify(x, 4), (2, 3, 48), (4, 1, 48)),
    "lapped_transform": (lambda: lambda x: lapped_transform(x, 4), (8, 12, 3), (4, 8, 3)),
    "inverse_lapped_transform": (lambda: lambda x: inverse_lapped_transform(x, 4), (8, 12, 3), (4, 8, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_any_size(name):
    build, *shapes = CASES[name]
    layer = build()
    inputs = keras.Input((*[None] * (len(shapes[0]) - 1), shapes[0][-1]))
    model = keras.Model(inputs, layer(inputs))
    for shape in shapes:
        given = np.random.default_rng(0).random((2, *shape), "float32")
        expected = keras.tree.flatten(layer(given))
        for got, value in zip(keras.tree.flatten(model.predict(given, verbose=0)), expected, strict=True):
            np.testing.assert_allclose(got, ops.convert_to_numpy(value), atol=1e-5)
