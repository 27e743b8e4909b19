import keras
import numpy as np

from keras_recon.layers.transformer import TransformerBlock


@keras.saving.register_keras_serializable("keras_recon")
class FeatureDecoder(keras.layers.Layer):
    """How badly a small transformer, trained on good photos, reconstructs features through a noisy bottleneck.

        features -> dense, dropout -> transformer blocks -> dense -> features again: 1 - cosine is the distance

    The idea of Dinomaly ("Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised Anomaly Detection", Guo et
    al., 2025): the dropout keeps the decoder from learning to copy what it has never seen. `adapt` trains it with
    `model.fit`.

    Args:
        hidden_dim, num_layers, num_heads: of the transformer.
        dropout_rate: of the bottleneck, in [0, 1).
        epochs: over the good photos.
        learning_rate: of AdamW, down to zero by a cosine.

    Input: features (batch, rows, columns, features). Output: distances (batch, rows, columns), 0 to 2.

    Example:

    >>> features = np.random.rand(20, 4, 4, 8)
    >>> method = keras_recon.anomaly.FeatureDecoder(hidden_dim=16, num_layers=1, num_heads=2, epochs=1)
    >>> method.adapt(features)
    >>> method(features).shape
    (20, 4, 4)
    """

    def __init__(
        self,
        hidden_dim: int = 192,
        num_layers: int = 2,
        num_heads: int = 3,
        dropout_rate: float = 0.3,
        epochs: int = 10,
        learning_rate: float = 1e-3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim, self.num_layers, self.num_heads = hidden_dim, num_layers, num_heads
        self.dropout_rate, self.epochs, self.learning_rate = dropout_rate, epochs, learning_rate

    def build(self, input_shape):
        _, rows, columns, size = input_shape
        self.network = keras.Sequential(
            [
                keras.Input((rows, columns, size)),
                keras.layers.Reshape((rows * columns, size)),
                keras.layers.Dense(self.hidden_dim, activation="gelu"),
                keras.layers.Dropout(self.dropout_rate),
                *(TransformerBlock(self.num_heads, 4 * self.hidden_dim) for _ in range(self.num_layers)),
                keras.layers.LayerNormalization(epsilon=1e-6),
                keras.layers.Dense(size),
                keras.layers.Reshape((rows, columns, size)),
            ],
            name="network",
        )

    def adapt(self, features: np.ndarray, batch_size: int = 8):
        """Train the decoder on features (tiles, rows, columns, features) of good photos."""
        if not self.built:
            self.build(features.shape)
        steps = self.epochs * -(-len(features) // batch_size)
        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        loss = keras.losses.CosineSimilarity()
        self.network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=1.0), loss)
        features = np.asarray(features, "float32")
        self.network.fit(features, features, batch_size, self.epochs, verbose=0)

    def call(self, features):
        return 1.0 + keras.losses.cosine_similarity(features, self.network(features, training=False))

    def get_config(self):
        names = ("hidden_dim", "num_layers", "num_heads", "dropout_rate", "epochs", "learning_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
