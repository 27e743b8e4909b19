"""Position embeddings, and the initialiser of local attention."""

import math

import keras
import numpy as np
from keras import ops

POSITION_EMBEDDINGS = ("learned", "sincos")
MAX_VALUES = 2**26  # largest size of a table: 1024 values for each of 256x256 patches
# (rows down, columns right): the four nearest patches, then the diagonal ones.
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


def _frequencies(hidden_dim: int) -> np.ndarray:
    """Return radians per patch, evenly spaced in (0, pi), which makes the vectors of different positions orthogonal."""
    return np.pi * (np.arange(hidden_dim // 4) + 0.5) / (hidden_dim // 4)


def sincos_position_embedding(rows: int, columns: int, hidden_dim: int) -> np.ndarray:
    """Compute a 2-D table (rows, columns, hidden_dim) with sines and cosines of the row, then of the column.

    As in "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022), except for the frequencies. Theirs are
    geometric, down to 1e-4, and most of these hardly change over a grid of a few patches.
    """
    angles = [axis[..., None] * _frequencies(hidden_dim) for axis in np.mgrid[:rows, :columns]]
    return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=-1).astype("float32")


@keras.saving.register_keras_serializable("keras_recon")
class PositionEmbedding(keras.layers.Layer):
    """Adds one vector per position to a grid (batch, rows, columns, hidden_dim).

    Args:
        position_embedding: `"learned"` (trained, starting at the sine-cosine table) or `"sincos"` (that table, fixed).
        **kwargs: see `keras.layers.Layer`.

    Example:
    >>> layer = keras_recon.layers.PositionEmbedding("sincos")
    >>> layer(keras.ops.zeros((2, 4, 6, 32))).shape
    (2, 4, 6, 32)
    """

    def __init__(self, position_embedding: str = "learned", **kwargs):
        super().__init__(**kwargs)
        if position_embedding not in POSITION_EMBEDDINGS:
            raise ValueError(
                f"`position_embedding` must be one of {POSITION_EMBEDDINGS}. "
                f"Received: position_embedding={position_embedding!r}"
            )
        self.position_embedding = position_embedding

    def build(self, input_shape):
        if math.prod(input_shape[1:]) > MAX_VALUES:  # before memory is allocated
            raise ValueError(f"`inputs` must have at most {MAX_VALUES:,} values. Received: input_shape={input_shape}")
        table = sincos_position_embedding(*input_shape[1:])
        self.embeddings = table
        if self.position_embedding == "learned":
            self.embeddings = self.add_weight(
                shape=table.shape,
                initializer=lambda shape, dtype: ops.convert_to_tensor(table, dtype),
                name="embeddings",
            )

    def call(self, inputs, training=None):
        embeddings = ops.convert_to_tensor(self.embeddings, dtype=inputs.dtype)
        if not training or self.position_embedding == "sincos":
            return inputs + embeddings
        # A copy for each image, by a matrix product, whose gradient is a product too. For a sum over the batch, XLA
        # would store the activations with the batch innermost and transpose them at each product: 20 % of a GPU step.
        ones = ops.ones((ops.shape(inputs)[0], 1), dtype=inputs.dtype)
        return inputs + ops.reshape(ops.matmul(ones, ops.reshape(embeddings, (1, -1))), ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "position_embedding": self.position_embedding}


@keras.saving.register_keras_serializable("keras_recon")
class LocalAttention(keras.initializers.Initializer):
    """Initialises the kernel of queries, keys and values so that each head attends to one neighbouring patch.

    A shift of a sine-cosine position is a rotation of its values. Keys read some values of the position. Queries read
    the same values, rotated by the shift of the head, and so match the keys of the patch at that shift. The heads take
    the eight neighbours in turn. The kernel stays trainable. It gives a transformer from the start the locality of
    convolutions, which attention is slow to learn, as "ConViT" (d'Ascoli et al., 2021) does by relative positions.

    Args:
        num_heads: number of attention heads.
        first_head: index of the first head in the cycle of neighbours.
        sharpness: difference of the attention logits of the neighbour and of patches in other rows and columns.
        seed: seed of the part of the kernel that makes values.

    Example:
    >>> initializer = keras_recon.layers.LocalAttention(num_heads=4)
    >>> layer = keras_recon.layers.MultiHeadSelfAttention(num_heads=4, qkv_initializer=initializer)
    >>> layer(keras.ops.ones((2, 16, 64))).shape
    (2, 16, 64)
    """

    def __init__(self, num_heads: int, first_head: int = 0, sharpness: float = 5.0, seed: int | None = None):
        self.num_heads = num_heads
        self.first_head = first_head
        self.sharpness = sharpness
        self.seed = seed

    def __call__(self, shape, dtype=None):
        hidden_dim = shape[0]
        head_dim, frequencies = hidden_dim // self.num_heads, _frequencies(hidden_dim)
        per_axis = head_dim // 4  # each frequency needs a sine and a cosine, for rows and for columns
        picked = ((np.arange(per_axis) + 0.5) * len(frequencies) / per_axis).astype(int)
        queries, keys = np.zeros((2, hidden_dim, self.num_heads, head_dim))
        for head in range(self.num_heads):
            shift = NEIGHBOURS[(self.first_head + head) % len(NEIGHBOURS)]
            for axis in (0, 1):
                sines = picked + axis * 2 * len(frequencies)
                cosines = sines + len(frequencies)
                out = np.arange(per_axis) * 2 + axis * 2 * per_axis
                angle = frequencies[picked] * shift[axis]
                keys[sines, head, out] = keys[cosines, head, out + 1] = 1
                queries[sines, head, out] = queries[cosines, head, out + 1] = np.cos(angle)
                queries[cosines, head, out], queries[sines, head, out + 1] = np.sin(angle), -np.sin(angle)
        gain = np.sqrt(self.sharpness * np.sqrt(head_dim) / (2 * per_axis))
        local = gain * np.concatenate([queries, keys], axis=1).reshape(hidden_dim, 2 * hidden_dim)
        values = keras.initializers.GlorotUniform(self.seed)((hidden_dim, hidden_dim), dtype)
        return ops.concatenate([ops.convert_to_tensor(local, dtype), values], axis=1)

    def get_config(self):
        return {
            "num_heads": self.num_heads,
            "first_head": self.first_head,
            "sharpness": self.sharpness,
            "seed": self.seed,
        }
