"""Transformer blocks with self-attention."""

import keras
from keras import ops

from keras_recon.layers.positions import LocalAttention, PositionEmbedding
from keras_recon.ops import take_tokens


@keras.saving.register_keras_serializable("keras_recon")
class MaskToken(keras.layers.Layer):
    """Puts the vectors of visible patches back on their grid, and one trained vector wherever a patch is hidden.

    Maps (batch, num_visible, values) and a patch mask (batch, rows, columns) to (batch, rows, columns, values). The
    trained vector is zero at first. From "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022). The
    layer computes in float32 under any dtype policy, as latents are float32.

    Args:
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> patch_mask = keras_recon.ops.fixed_patch_mask(rows=4, columns=6, num_visible=8)
    >>> visible = keras.ops.ones((1, 8, 12))
    >>> grid = keras.ops.convert_to_numpy(keras_recon.layers.MaskToken()(visible, patch_mask))
    >>> grid.shape, float(grid.sum())  # 8 vectors of 12 ones, all else 0
    ((1, 4, 6, 12), 96.0)
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape):
        self.token = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="token")

    def call(self, inputs, patch_mask):
        rows, columns = patch_mask.shape[1:]
        visible = 1 - ops.cast(ops.reshape(patch_mask, (-1, rows * columns)), "int32")
        position = ops.maximum(ops.cumsum(visible, axis=1) - 1, 0)  # index of each visible patch among the visible ones
        grid = ops.reshape(take_tokens(inputs, position), (-1, rows, columns, inputs.shape[-1]))
        return ops.where(patch_mask[..., None], ops.convert_to_tensor(self.token), grid)


# The default noise shape, written out: without one, dropout on PyTorch draws from torch's global generator, whose state
# is in no checkpoint.
EACH_VALUE = (None, None, None)


@keras.saving.register_keras_serializable("keras_recon")
class MultiHeadSelfAttention(keras.layers.Layer):
    """Multi-head self-attention with one fused projection for queries, keys and values.

    From "Attention Is All You Need" (Vaswani et al., 2017). `keras.ops.dot_product_attention` uses flash attention
    where the backend has it. Input and output have the shape (batch, tokens, hidden_dim).

    Args:
        num_heads: number of heads; must divide the last dimension of the input.
        dropout_rate: dropout after the output projection, in [0, 1).
        qkv_initializer: initializer of the kernel (hidden_dim, 3 * hidden_dim) of queries, keys and values.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> keras_recon.layers.MultiHeadSelfAttention(num_heads=4)(keras.ops.ones((2, 16, 64))).shape
    (2, 16, 64)
    """

    def __init__(self, num_heads: int, dropout_rate: float = 0.0, qkv_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.qkv_initializer = keras.initializers.get(qkv_initializer)
        self.dropout = keras.layers.Dropout(dropout_rate, EACH_VALUE, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        hidden_dim = input_shape[-1]
        self.qkv = keras.layers.Dense(
            3 * hidden_dim, kernel_initializer=self.qkv_initializer, dtype=self.dtype_policy, name="qkv"
        )
        self.qkv.build(input_shape)
        self.projection = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="projection")
        self.projection.build(input_shape)

    def call(self, inputs, training=None):
        _, tokens, hidden_dim = ops.shape(inputs)
        heads = (-1, tokens, 3, self.num_heads, hidden_dim // self.num_heads)
        q, k, v = ops.unstack(ops.reshape(self.qkv(inputs), heads), axis=2)  # (batch, tokens, heads, head_dim) each
        x = ops.dot_product_attention(q, k, v)
        x = self.projection(ops.reshape(x, (-1, tokens, hidden_dim)))
        return self.dropout(x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
            "qkv_initializer": keras.initializers.serialize(self.qkv_initializer),
        }


@keras.saving.register_keras_serializable("keras_recon")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm transformer block: `x + attention(norm(x))`, then `x + mlp(norm(x))`, (batch, tokens, hidden_dim).

    From "An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021).

    Args:
        num_heads: number of attention heads.
        mlp_dim: width of the GELU layer.
        dropout_rate: dropout after the attention and after the MLP, in [0, 1).
        drop_path_rate: probability in [0, 1) that a sample skips a branch in training: "Deep Networks with Stochastic
            Depth" (Huang et al., 2016).
        qkv_initializer: see `MultiHeadSelfAttention`.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> block = keras_recon.layers.TransformerBlock(num_heads=4, mlp_dim=128, drop_path_rate=0.1)
    >>> block(keras.ops.ones((2, 16, 64))).shape
    (2, 16, 64)
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.dropout_rate = dropout_rate
        self.drop_path_rate = drop_path_rate
        dtype = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="attention_norm")
        self.attention = MultiHeadSelfAttention(num_heads, dropout_rate, qkv_initializer, dtype=dtype, name="attention")
        self.mlp_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="mlp_norm")
        self.mlp_in = keras.layers.Dense(mlp_dim, activation="gelu", dtype=dtype, name="mlp_in")
        self.dropout = keras.layers.Dropout(dropout_rate, EACH_VALUE, dtype=dtype, name="dropout")
        # One random number per sample drops the whole branch.
        self.drop_path = keras.layers.Dropout(drop_path_rate, noise_shape=(None, 1, 1), dtype=dtype, name="drop_path")

    def build(self, input_shape):
        self.attention_norm.build(input_shape)
        self.attention.build(input_shape)
        self.mlp_norm.build(input_shape)
        self.mlp_in.build(input_shape)
        self.mlp_out = keras.layers.Dense(input_shape[-1], dtype=self.dtype_policy, name="mlp_out")
        self.mlp_out.build((*input_shape[:-1], self.mlp_dim))

    def call(self, inputs, training=None):
        x = self.attention(self.attention_norm(inputs), training=training)
        inputs = inputs + self.drop_path(x, training=training)
        x = self.dropout(self.mlp_out(self.mlp_in(self.mlp_norm(inputs))), training=training)
        return inputs + self.drop_path(x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "dropout_rate": self.dropout_rate,
            "drop_path_rate": self.drop_path_rate,
            "qkv_initializer": keras.initializers.serialize(self.attention.qkv_initializer),
        }


@keras.saving.register_keras_serializable("keras_recon")
class Transformer(keras.layers.Layer):
    """Linear embedding, position embedding, `num_layers` transformer blocks and a final norm.

    Maps a grid of vectors (batch, rows, columns, values) to (batch, rows, columns, hidden_dim). At first, each
    attention head attends to a neighbour, see `LocalAttention`. With `visible`, the indices (batch, num_visible) of
    some positions of each grid, the blocks see only those, and the output is (batch, num_visible, hidden_dim).

    Args:
        num_layers: number of blocks; the rate of stochastic depth grows linearly over them, from 0 to `drop_path_rate`.
        num_heads: see `TransformerBlock`.
        hidden_dim: width of the tokens.
        mlp_dim: see `TransformerBlock`.
        dropout_rate: see `TransformerBlock`.
        drop_path_rate: see `TransformerBlock`.
        position_embedding: `"learned"` or `"sincos"`, see `PositionEmbedding`.
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> encoder = keras_recon.layers.Transformer(num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128)
    >>> patches = keras.ops.ones((2, 4, 6, 192))
    >>> encoder(patches).shape
    (2, 4, 6, 64)
    >>> encoder(patches, visible=np.array([[0, 5, 23], [1, 2, 3]])).shape
    (2, 3, 64)
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        position_embedding: str = "learned",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_heads < 1 or num_layers < 0 or hidden_dim < 1 or hidden_dim % (4 * num_heads):
            raise ValueError(
                "`hidden_dim` must be a multiple of 4 times `num_heads`, and `num_layers` must not be negative. "
                f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}, num_layers={num_layers}"
            )
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.dropout_rate = dropout_rate
        self.drop_path_rate = drop_path_rate
        self.position_embedding = position_embedding
        dtype = self.dtype_policy
        self.embedding = keras.layers.Dense(hidden_dim, dtype=dtype, name="embedding")
        self.positions = PositionEmbedding(position_embedding, dtype=dtype, name="positions")
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                dropout_rate,
                drop_path_rate * i / max(1, num_layers - 1),
                LocalAttention(num_heads, first_head=i * num_heads),
                dtype=dtype,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="norm")

    def build(self, inputs_shape, visible_shape=None):
        batch, rows, columns, _ = inputs_shape
        self.embedding.build(inputs_shape)
        self.positions.build((batch, rows, columns, self.hidden_dim))
        for block in self.blocks:
            block.build((batch, rows * columns, self.hidden_dim))
        self.norm.build((batch, rows * columns, self.hidden_dim))

    def call(self, inputs, visible=None, training=None):
        rows, columns = inputs.shape[1:3]
        x = self.positions(self.embedding(inputs))
        x = ops.reshape(x, (-1, rows * columns, self.hidden_dim))  # (batch, tokens, hidden_dim)
        if visible is not None:
            x = take_tokens(x, visible)
        for block in self.blocks:
            x = block(x, training=training)
        x = self.norm(x)
        return ops.reshape(x, (-1, rows, columns, self.hidden_dim)) if visible is None else x

    def compute_output_shape(self, inputs_shape, visible_shape=None):
        return (*(visible_shape or inputs_shape[:-1]), self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "mlp_dim": self.mlp_dim,
            "dropout_rate": self.dropout_rate,
            "drop_path_rate": self.drop_path_rate,
            "position_embedding": self.position_embedding,
        }
