import numpy as np
import pytest
from contracts import check_layer
from keras import ops
from scipy.special import erf, softmax

from keras_recon.layers import MultiHeadSelfAttention, Transformer, TransformerBlock


def tokens(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_attention_is_that_of_the_paper():
    layer, x = MultiHeadSelfAttention(num_heads=2), tokens(2, 5, 8)
    outputs = ops.convert_to_numpy(layer(x))
    weights = {w.path.split("/", 1)[1]: ops.convert_to_numpy(w) for w in layer.weights}
    qkv = x @ weights["qkv/kernel"] + weights["qkv/bias"]
    q, k, v = np.moveaxis(qkv.reshape(2, 5, 3, 2, 4), (2, 3), (0, 2))  # (batch, heads, tokens, head_dim) each
    attended = softmax(q @ k.swapaxes(-1, -2) / 2.0, axis=-1) @ v
    expected = attended.swapaxes(1, 2).reshape(2, 5, 8) @ weights["projection/kernel"] + weights["projection/bias"]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    check_layer(MultiHeadSelfAttention, {"num_heads": 2, "dropout_rate": 0.1}, x, (2, 5, 8))


def test_block_is_pre_norm_with_a_gelu_mlp():
    block, x = TransformerBlock(num_heads=2, mlp_dim=12), tokens(2, 5, 8)
    outputs = ops.convert_to_numpy(block(x))

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    x = x + ops.convert_to_numpy(block.attention(norm(x)))
    hidden = norm(x) @ ops.convert_to_numpy(block.mlp_in.kernel)
    hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
    np.testing.assert_allclose(outputs, x + hidden @ ops.convert_to_numpy(block.mlp_out.kernel), atol=1e-5)
    check_layer(
        TransformerBlock, {"num_heads": 2, "mlp_dim": 12, "dropout_rate": 0.1, "drop_path_rate": 0.1}, x, (2, 5, 8)
    )


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    block, x = TransformerBlock(num_heads=2, mlp_dim=12, drop_path_rate=0.5), np.ones((64, 3, 8), "float32")
    dropped = ops.convert_to_numpy(block.drop_path(x, training=True))
    assert {tuple(np.unique(sample)) for sample in dropped} == {(0.0,), (2.0,)}
    np.testing.assert_array_equal(ops.convert_to_numpy(block.drop_path(x, training=False)), x)


@pytest.mark.parametrize("position_embedding", ["learned", "sincos"])
def test_transformer(position_embedding):
    config = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12, "position_embedding": position_embedding}
    check_layer(Transformer, config, tokens(2, 3, 5, 6), (2, 3, 5, 8))


def test_stochastic_depth_grows_over_the_blocks():
    layer = Transformer(num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=12, drop_path_rate=0.2)
    assert [block.drop_path_rate for block in layer.blocks] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("hidden_dim, num_heads", [(8, 3), (6, 2)])
def test_width_that_does_not_fit_is_named(hidden_dim, num_heads):
    with pytest.raises(ValueError, match=f"hidden_dim={hidden_dim}, num_heads={num_heads}"):
        Transformer(num_layers=1, num_heads=num_heads, hidden_dim=hidden_dim, mlp_dim=12)
