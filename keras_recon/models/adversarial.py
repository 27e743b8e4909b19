"""Adversarial training: a discriminator beside a model, trained in the same steps, and absent from what is saved."""

import keras
from keras import ops

from keras_recon.layers import PatchDiscriminator


class Adversary(keras.layers.Layer):
    """A discriminator and the hinge losses of both sides ("Geometric GAN", Lim and Ye, 2017).

    The model's own ends at 0 too, where its outputs pass for photos by the margin of 1, so that no loss is negative.

    Args:
        weight: of what the model's outputs lack to look real, beside the model's own loss.
        discriminator: from images to logits of any shape, above 0 for real ones; it must hold no state that calls
            change.

    Attributes:
        hinge_of_discriminator: half of its loss, for the logs: 1 where it cannot tell outputs from photos, else less.
    """

    def __init__(self, weight: float, discriminator: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        if not weight > 0:
            raise ValueError(f"`weight` must be above 0. Received: weight={weight}")
        self.weight = weight
        self.discriminator = discriminator
        self.hinge = keras.losses.Hinge()
        self.hinge_of_discriminator = keras.metrics.Hinge(name="discriminator_hinge")
        self.built = True

    def loss(self, y_true, y_pred):
        """What is added to a model's loss, for images (batch, height, width, channels) in [0, 1].

        One gradient serves both: the model gets none from the discriminator's own loss, whose outputs are constants,
        and the discriminator none from the model's, for which its weights are.
        """
        of_discriminator = 0.0
        for images, sign in ((y_true, 1.0), (ops.stop_gradient(y_pred), -1.0)):
            logits = self.discriminator(images)
            of_discriminator += self.hinge(sign * ops.ones_like(logits), logits)
            self.hinge_of_discriminator.update_state(sign * ops.ones_like(logits), logits)
        variables = self.discriminator.trainable_variables, self.discriminator.non_trainable_variables
        constants = [[ops.stop_gradient(variable) for variable in group] for group in variables]
        images = ops.cast(y_pred, self.discriminator.compute_dtype)
        logits, _ = self.discriminator.stateless_call(*constants, images)
        return of_discriminator + self.weight * self.hinge(ops.ones_like(logits), logits)


class AdversariallyTrained(keras.Model):
    """A model beside which a discriminator can be trained.

    Attributes:
        adversary: while there is one, it is in weights files and backups; configuration, exports and clones have none.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.adversary: Adversary | None = None

    def add_adversary(self, weight: float, discriminator: keras.layers.Layer | None = None):
        """Train against a discriminator from here on. Compile afterwards, and remove it in the end.

        For a model that is trained already: a new one's outputs are so far from photos that nothing is learned from it.

        Args:
            weight: of the adversarial loss, see `Adversary`.
            discriminator: a `keras_recon.layers.PatchDiscriminator()` if None.

        Example:

        >>> model = keras_recon.load_model("autoencoder")
        >>> model.add_adversary(weight=1e-3)
        >>> model.compile(keras.optimizers.Adam(1e-4), "mse")
        >>> images = np.random.rand(4, 64, 64, 3)
        >>> history = model.fit(images, images, verbose=0)
        >>> model.remove_adversary()
        """
        if self.adversary or self.is_masked:
            received = "a masked model" if self.is_masked else "a model that has one"
            raise ValueError(
                f"`add_adversary` needs a model without masks and without an adversary. Received: {received}"
            )
        adversary = Adversary(weight, discriminator or PatchDiscriminator(dtype=self.dtype_policy), name="adversary")
        if not adversary.discriminator.built:
            adversary.discriminator.build((None, None, None, self.image_shape[-1]))
        self._tracker.unlock()  # a built model takes no more layers
        self.adversary = adversary
        self._tracker.lock()

    def remove_adversary(self):
        """Leave the model as it would be without one; its compilation was for both."""
        self._tracker.untrack(self.adversary)
        self.adversary = None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not self.adversary:
            return loss
        adversarial = self.adversary.loss(y, y_pred)
        return loss + adversarial if training else loss  # a validation tells of what the model is for
