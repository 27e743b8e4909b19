import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_recon")
class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW whose learning rate depends on a variable's depth in a pretrained backbone.

    A variable at depth d of D is updated at `learning_rate * scale * decay^(D - d)`, the layer-wise decay of "ULMFiT"
    (Howard and Ruder, 2018) and "BEiT" (Bao et al., 2022). Variables without a depth, the new ones, take the learning
    rate as it is. Weight decay acts at the same rates. The variable `frozen_below` holds the depth below which nothing
    moves, 0 at first; the variable `rate_scale`, 1 at first, scales the learning rate of all.

    Args:
        depths: depth by the path of the variable; 0 is what comes before the first block.
        scale: factor of all variables that have a depth.
        decay: factor from one depth to the one below.
        **kwargs: see `keras.optimizers.AdamW`.

    Example:

    >>> first, last = (keras.Variable(1.0, name=name) for name in ("first", "last"))
    >>> depths = {first.path: 0, last.path: 1}  # of a model: `model.variable_depths()`
    >>> optimizer = keras_recon.optimizers.LayerwiseAdamW(0.1, depths=depths, decay=0.5, weight_decay=0.0)
    >>> optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [first, last])
    >>> round(float(first.numpy()), 2), round(float(last.numpy()), 2)
    (0.95, 0.9)
    """

    def __init__(self, *args, depths: dict[str, int] | None = None, scale: float = 1.0, decay: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.depths = dict(depths or {})
        self.scale = scale
        self.decay = decay

    def build(self, variables):
        if not self.built:
            self.frozen_below = self.add_variable((), "zeros", dtype="int32", name="frozen_below")
            self.rate_scale = self.add_variable((), "ones", dtype="float32", name="rate_scale")
            self._depths = [self.depths.get(variable.path) for variable in variables]
            self._top = max(self.depths.values(), default=0)
        super().build(variables)

    def _get_current_learning_rate(self):  # updates, weight decay and logs take it from here
        rate = super()._get_current_learning_rate()
        return rate * self.rate_scale if self.built else rate

    def finalize_variable_values(self, var_list):
        """Nothing: `keras_recon.callbacks.SwapEMAWeights` has put the averages in place."""

    def _use_weight_decay(self, variable):  # of what has a depth, `update_step` does it
        return self._depths[self._get_variable_index(variable)] is None and super()._use_weight_decay(variable)

    def _apply_weight_decay(self, variables):
        if any(map(self._use_weight_decay, variables)):  # of none, PyTorch refuses an empty list
            super()._apply_weight_decay(variables)

    def update_step(self, gradient, variable, learning_rate):
        depth = self._depths[self._get_variable_index(variable)]
        if depth is not None:
            learning_rate = learning_rate * self.scale * self.decay ** (self._top - depth)
            learning_rate = ops.where(self.frozen_below > depth, 0.0, learning_rate)
            if super()._use_weight_decay(variable):
                self.assign_sub(variable, variable * ops.cast(self.weight_decay * learning_rate, variable.dtype))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "depths": self.depths, "scale": self.scale, "decay": self.decay}


def without_loss_scaling(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer of a compiled model, which Keras wraps in one that scales the loss under mixed_float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)
