import keras


class SwapEMAWeights(keras.callbacks.SwapEMAWeights):
    """Validates and saves with the averaged weights; needs a `LayerwiseAdamW` with `use_ema=True`.

    On TensorFlow, Keras swaps by adding and subtracting, which rounds, so that a resumed run drifts from an
    uninterrupted one. This swaps by copying on every backend. And Keras gives the trained weights up for the averaged
    ones when `fit` ends; here they stay in the optimizer, and the next `fit` goes on with them.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    >>> model.compile(keras_recon.optimizers.LayerwiseAdamW(use_ema=True, ema_momentum=0.9), "mse")
    >>> images = np.random.rand(4, 8, 8, 3)
    >>> history = model.fit(images, images, verbose=0, callbacks=[keras_recon.callbacks.SwapEMAWeights()])
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:
            self._swap_variables()

    def _tf_swap_variables(self, optimizer):
        self._backend_swap_variables(optimizer)
