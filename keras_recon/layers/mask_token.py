import keras
from keras import ops

from keras_recon.ops.masking import take_tokens


@keras.saving.register_keras_serializable("keras_recon")
class MaskToken(keras.layers.Layer):
    """Puts the vectors of visible patches back on their grid, and one trained vector wherever a patch is hidden.

    Maps (batch, num_visible, values) and a patch mask (batch, rows, columns) to (batch, rows, columns, values). The
    trained vector starts at zero. From "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2022). It works
    in float32 under any dtype policy, as latents do.

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
        position = ops.maximum(ops.cumsum(visible, axis=1) - 1, 0)  # of each visible patch among the visible ones
        grid = ops.reshape(take_tokens(inputs, position), (-1, rows, columns, inputs.shape[-1]))
        return ops.where(patch_mask[..., None], ops.convert_to_tensor(self.token), grid)
