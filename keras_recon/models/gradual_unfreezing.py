import keras

from keras_recon.optimizers import LayerwiseAdamW, without_loss_scaling


class GradualUnfreezing(keras.callbacks.Callback):
    """Frees a pretrained backbone from its last block to its first, one more after every `epochs_per_block` epochs.

    From "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder, 2018). Needs a model compiled
    with `keras_recon.optimizers.LayerwiseAdamW`. The gradients of the frozen blocks are computed all the same. A model
    of the strategy `gradual` adds this callback itself.

    Args:
        epochs_per_block: epochs.
        num_layers: blocks of the backbone; what comes before them is freed last.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3), keras.layers.Dense(3)])
    >>> depths = {v.path: depth for depth, layer in enumerate(model.layers, start=1) for v in layer.variables}
    >>> optimizer = keras_recon.optimizers.LayerwiseAdamW(depths=depths)
    >>> optimizer.build(model.trainable_variables)
    >>> model.compile(optimizer, "mse")
    >>> unfreezing = keras_recon.callbacks.GradualUnfreezing(epochs_per_block=1, num_layers=2)
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, epochs=2, verbose=0, callbacks=[unfreezing])
    >>> int(optimizer.frozen_below.numpy())  # the second epoch trained the last block
    2
    """

    def __init__(self, epochs_per_block: int, num_layers: int):
        super().__init__()
        self.epochs_per_block = epochs_per_block
        self.num_layers = num_layers

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = without_loss_scaling(self.model.optimizer)
        if not isinstance(optimizer, LayerwiseAdamW):
            raise ValueError(
                "`GradualUnfreezing` needs a model compiled with keras_recon.optimizers.LayerwiseAdamW. "
                f"Received: optimizer={type(optimizer).__name__}"
            )
        if not optimizer.built:  # it is in the first step
            self.model.optimizer.build(self.model.trainable_variables)
        optimizer.frozen_below.assign(max(0, self.num_layers + 1 - epoch // self.epochs_per_block))
