import keras
import numpy as np
import pytest
from contracts import check_layer
from keras import ops

from keras_recon.layers import LocalAttention, PositionEmbedding
from keras_recon.layers.positions import NEIGHBOURS, sincos_position_embedding


def test_vectors_of_different_positions_are_orthogonal():
    table = sincos_position_embedding(8, 8, 128).astype("float64")
    down, right = table[:, 0, :64], table[0, :, 64:]  # the row's half and the column's half
    for half in (down, right):
        np.testing.assert_allclose(half @ half.T, 32 * np.eye(8), atol=1e-4)


@pytest.mark.parametrize("kind, weights", [("learned", 1), ("sincos", 0)])
def test_position_embedding(kind, weights):
    inputs = np.random.default_rng(0).standard_normal((2, 3, 5, 16)).astype("float32")
    check_layer(PositionEmbedding, {"position_embedding": kind}, inputs, (2, 3, 5, 16))
    layer = PositionEmbedding(kind)
    added = ops.convert_to_numpy(layer(inputs)) - inputs
    np.testing.assert_allclose(added[1], sincos_position_embedding(3, 5, 16), atol=1e-6)
    assert len(layer.trainable_weights) == weights


def test_unknown_position_embedding_is_named():
    with pytest.raises(ValueError, match="position_embedding='fourier'"):
        PositionEmbedding("fourier")


@pytest.mark.parametrize("num_heads, hidden_dim", [(4, 128), (3, 192), (8, 128)])
def test_heads_start_at_their_neighbour(num_heads, hidden_dim):
    first, rows, columns = 2, 7, 9
    kernel = LocalAttention(num_heads, first_head=first)((hidden_dim, 3 * hidden_dim), "float32")
    positions = sincos_position_embedding(rows, columns, hidden_dim).reshape(-1, hidden_dim)
    split = (positions @ ops.convert_to_numpy(kernel)).reshape(rows * columns, 3, num_heads, -1)
    for head in range(num_heads):
        logits = split[:, 0, head] @ split[:, 1, head].T / np.sqrt(hidden_dim // num_heads)
        down, right = NEIGHBOURS[(first + head) % 8]
        for row in range(1, rows - 1):
            for column in range(1, columns - 1):
                found = np.unravel_index(logits[row * columns + column].argmax(), (rows, columns))
                assert found == (row + down, column + right)


def test_local_attention_config():
    initializer = LocalAttention(4, first_head=1, sharpness=3.0, seed=5)
    copy = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert copy.get_config() == initializer.get_config()
    kernels = [ops.convert_to_numpy(i((16, 48), "float32")) for i in (initializer, copy)]
    np.testing.assert_array_equal(*kernels)
