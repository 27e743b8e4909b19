import keras
from keras import ops

from keras_recon.layers.conv import conv, normalization


@keras.saving.register_keras_serializable("keras_recon")
class PatchDiscriminator(keras.layers.Layer):
    """How real each part of an image looks: (batch, height, width, channels) to (batch, rows, columns, 1), from -inf.

    Strided 4x4 convolutions, group normalisation and leaky ReLU, and a last convolution: the PatchGAN of
    "Image-to-image translation with conditional adversarial networks" (Isola et al., 2017), which sees texture and no
    whole. Nothing in it depends on the other images of a batch.

    Args:
        filters: channels per level; each halves height and width.

    Example:

    >>> discriminator = keras_recon.layers.PatchDiscriminator(filters=(8, 16))
    >>> discriminator(np.random.rand(2, 32, 48, 3).astype("float32")).shape
    (2, 8, 12, 1)
    """

    def __init__(self, filters: tuple[int, ...] = (64, 128, 256), **kwargs):
        super().__init__(**kwargs)
        if not filters or min(filters) < 1:
            raise ValueError(f"`filters` must be channels of at least one level. Received: filters={filters}")
        self.filters = tuple(filters)
        policy = self.dtype_policy
        self.convolutions = [
            conv(width, 4, strides=2, dtype=policy, name=f"conv_{i}") for i, width in enumerate(self.filters)
        ]
        self.normalizations = [
            normalization(
                "group" if i else "none", width, dtype=policy, name=f"norm_{i}"
            )  # the first shows the colours
            for i, width in enumerate(self.filters)
        ]
        self.head = conv(1, 4, dtype=policy, name="head")

    def build(self, input_shape):
        shape = (None, None, None, input_shape[-1])
        for convolution, norm, width in zip(self.convolutions, self.normalizations, self.filters):
            convolution.build(shape)
            shape = (*shape[:3], width)
            norm.build(shape)
        self.head.build(shape)

    def call(self, images):
        x = 4.0 * images - 2.0
        for convolution, norm in zip(self.convolutions, self.normalizations):
            x = ops.leaky_relu(norm(convolution(x)), 0.2)
        return self.head(x)

    def compute_output_shape(self, input_shape):
        step = 2 ** len(self.filters)
        return (input_shape[0], *[side and -(-side // step) for side in input_shape[1:3]], 1)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
