import keras

from keras_recon.features.perceptual import perceptual_distance, short_name


@keras.saving.register_keras_serializable("keras_recon")
class PerceptualDistance(keras.metrics.MeanMetricWrapper):
    """Mean over images of `keras_recon.features.perceptual_distance`.

    Its name has the preset's: distances of different backbones, or depths, do not compare.

    Args:
        preset, depths: see `keras_recon.features.perceptual_distance`.

    Example:

    >>> metric = keras_recon.metrics.PerceptualDistance("deit_tiny", depths=(1, 2))
    >>> metric.update_state(np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32, 3)))
    >>> metric.name, float(metric.result())
    ('perceptual_deit_tiny_1_2', 0.0)
    """

    def __init__(self, preset: str, depths: tuple[int, ...] | None = None, name: str | None = None, dtype=None):
        self.preset = str(preset)
        self.depths = depths and tuple(depths)
        super().__init__(
            perceptual_distance,
            name=name or f"perceptual_{short_name(self.preset, self.depths)}",
            dtype=dtype,
            preset=self.preset,
            depths=self.depths,
        )
        self._direction = "down"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "preset": self.preset, "depths": self.depths}
