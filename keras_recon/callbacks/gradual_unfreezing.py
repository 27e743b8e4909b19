import keras

from keras_recon.optimizers import without_loss_scaling


class GradualUnfreezing(keras.callbacks.Callback):
    """Frees a pretrained backbone from its last block to its first, one more after every `epochs_per_block` epochs.

    From "Universal Language Model Fine-tuning for Text Classification" (Howard and Ruder, 2018). Needs a model compiled
    with `keras_recon.optimizers.LayerwiseAdamW`. The gradients of the frozen blocks are computed all the same.

    Args:
        epochs_per_block: epochs.
        num_layers: blocks of the backbone; what comes before them is freed last.
    """

    def __init__(self, epochs_per_block: int, num_layers: int):
        super().__init__()
        self.epochs_per_block = epochs_per_block
        self.num_layers = num_layers

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = without_loss_scaling(self.model.optimizer)
        optimizer.frozen_below.assign(max(0, self.num_layers + 1 - epoch // self.epochs_per_block))
