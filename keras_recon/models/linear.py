"""The linear autoencoder as a model, which is the PCA baseline."""

import keras

from keras_recon.models.reconstructor import Reconstructor
from keras_recon.ops import patchify


@keras.saving.register_keras_serializable("keras_recon")
class LinearReconstructor(Reconstructor):
    """The linear path alone: PCA of patches after `adapt`. It is the baseline at the same number of latent values.

    Args:
        image_shape: (height, width, channels). The model accepts any multiples of `patch_size` as height and width.
        patch_size: side of the square patches in pixels; must divide height and width.
        latent_dim: latent values per patch.
        **kwargs: `name` and `dtype`, see `keras.Model`.

    Example:
    >>> pca = keras_recon.models.LinearReconstructor(image_shape=(32, 32, 3), patch_size=8, latent_dim=192)
    >>> images = np.random.rand(16, 32, 32, 3).astype("float32")
    >>> pca.adapt(images)
    >>> outputs = pca.predict(images, verbose=0)  # with as many latent values as pixels, nothing is lost
    >>> np.allclose(outputs, images, atol=1e-3)
    True
    """

    fully_convolutional = True

    def __init__(
        self, image_shape: tuple[int, int, int] = (64, 64, 3), patch_size: int = 8, latent_dim: int = 12, **kwargs
    ):
        super().__init__(image_shape, patch_size, latent_dim, linear_path=True, **kwargs)
        self.build((None, *self.image_shape))

    decodes_patches = False

    def encode(self, images, training=None, *, patch_mask=None):
        """Compute the PCA coefficients of each patch."""
        self.check_mask(patch_mask)
        return self.linear.encode(patchify(self.checked(images), self.patch_size))

    def decode(self, latents, training=None):
        """Compute images from PCA coefficients."""
        return self.to_images(latents, 0.0, training)

    def lora_parts(self):
        """Return no parts: the model has no network."""
        return []

    def get_config(self):
        """Return the arguments of the constructor and the state of `ImageModel.get_config`."""
        config = super().get_config()
        del config["linear_path"], config["refiner_filters"]
        return {**config, "patch_size": self.patch_size}
