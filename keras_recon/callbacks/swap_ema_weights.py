import keras


class SwapEMAWeights(keras.callbacks.SwapEMAWeights):
    """Validates and saves with the averaged weights, and trains on from them: for `LayerwiseAdamW(use_ema=True)`.

    An epoch, and a later `fit`, begin with the averaged weights of the one before, much as in "Switch EMA" (Li et al.,
    2024), while their average begins with the trained ones. With Keras's callback an epoch goes on from the trained
    weights: after 600 steps a ViT reached 0.05 dB less so. And on TensorFlow, Keras swaps by adding and subtracting,
    which rounds, so that a resumed run drifts from an uninterrupted one; this swaps by copying on every backend.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile(keras_recon.optimizers.LayerwiseAdamW(use_ema=True, ema_momentum=0.9), "mse")
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, verbose=0, callbacks=[keras_recon.callbacks.SwapEMAWeights()])
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:  # which stays False, so that no epoch begins by swapping back
            self._swap_variables()

    def _tf_swap_variables(self, optimizer):
        self._backend_swap_variables(optimizer)
