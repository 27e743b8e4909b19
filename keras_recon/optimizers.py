"""AdamW with learning rates by depth and moving averages that a callback can exchange with the weights."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_recon")
class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW with a learning rate that depends on the depth of a variable in a pretrained backbone.

    A variable at depth d of D has the learning rate `learning_rate * scale * decay^(D - d)`: the layer-wise decay of
    "ULMFiT" (Howard and Ruder, 2018) and "BEiT" (Bao et al., 2022). Variables without a depth, which are new, have the
    learning rate itself. Weight decay acts at the same rates.

    With `use_ema=True`, `fit` ends with the averaged weights in the model, as with every Keras optimizer.
    `keras_recon.callbacks.SwapEMAWeights` also validates with them.

    Args:
        depths: depth by the path of the variable; 0 is what comes before the first block.
        scale: factor of all variables that have a depth.
        decay: factor from one depth to the one below.
        **kwargs: see `keras.optimizers.AdamW`.

    Attributes:
        frozen_below: integer variable, 0 at first; variables at smaller depths do not change.
        rate_scale: float variable, 1 at first, that scales the learning rate of all variables.
        swapped_at: the number of steps at which `swap_averages` put the averages into the model.

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
        self.swapped_at = 0  # before the first step, the averages are zeros

    def build(self, variables):
        if not self.built:
            self.frozen_below = self.add_variable((), "zeros", dtype="int32", name="frozen_below")
            self.rate_scale = self.add_variable((), "ones", dtype="float32", name="rate_scale")
            self._depths = [self.depths.get(variable.path) for variable in variables]
            self._top = max(self.depths.values(), default=0)
        super().build(variables)

    @property
    def learning_rate(self):
        rate = super().learning_rate
        return rate * self.rate_scale if self.built else rate

    @learning_rate.setter
    def learning_rate(self, rate):
        keras.optimizers.AdamW.learning_rate.fset(self, rate)

    # Private: Keras decays all variables at one rate, before `update_step`, which has the rate of each.
    def _apply_weight_decay(self, variables):
        pass

    def update_step(self, gradient, variable, learning_rate):
        # Private: TensorFlow passes its own variables, which have no path.
        depth = self._depths[self._get_variable_index(variable)]
        if depth is not None:
            learning_rate = learning_rate * self.scale * self.decay ** (self._top - depth)
            learning_rate = ops.where(self.frozen_below > depth, 0.0, learning_rate)
        # Private: `exclude_from_weight_decay` is public, but its answer is not.
        if self.weight_decay and self._use_weight_decay(variable):
            weight_decay, rate = (ops.cast(value, variable.dtype) for value in (self.weight_decay, learning_rate))
            self.assign_sub(variable, variable * weight_decay * rate)
        super().update_step(gradient, variable, learning_rate)

    @property
    def holds_averages(self) -> bool:
        """Whether the model has the averaged weights, and the averages the trained ones, since the last step."""
        return self.swapped_at == int(ops.convert_to_numpy(self.iterations))

    def swap_averages(self, variables: list[keras.Variable]):
        """Exchange the values of a model's trainable variables with their moving averages."""
        for variable, average in self._with_averages(variables):
            value = ops.convert_to_numpy(variable)
            variable.assign(average)
            average.assign(value)
        self.swapped_at = None if self.holds_averages else int(ops.convert_to_numpy(self.iterations))

    def finalize_variable_values(self, var_list):
        if self.use_ema and not self.holds_averages:
            for variable, average in self._with_averages(var_list):
                variable.assign(np.array(ops.convert_to_numpy(average)))  # JAX cannot donate a shared array twice

    def _with_averages(self, variables):
        averages = [variable for variable in self.variables if variable.name.endswith("_average")]
        return zip(variables, averages, strict=True)

    def get_config(self):
        return {**super().get_config(), "depths": self.depths, "scale": self.scale, "decay": self.decay}


def without_loss_scaling(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer of a compiled model, which Keras wraps in a loss-scaling one under mixed_float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)
