"""Adversarial training: the same steps train a model and a discriminator, which is not part of the saved model."""

import keras
from keras import ops

from keras_recon import losses
from keras_recon.layers import PatchDiscriminator
from keras_recon.metrics import named
from keras_recon.models import ImageModel, PretrainedViTReconstructor


@keras.saving.register_keras_serializable("keras_recon")
class AdversarialTraining(keras.Model):
    """Train a model against a discriminator with the hinge loss of "Geometric GAN" (Lim and Ye, 2017).

    Compile and fit this wrapper in place of the model. The model itself is unchanged except for its weights. Start from
    a trained model: the outputs of an untrained one are so far from photos that the discriminator teaches it nothing.

    One gradient step updates both networks. The hinge loss of the discriminator sends no gradient to the model, and the
    adversarial loss of the model sends none to the discriminator. Validation reports the compiled loss only. The metric
    `discriminator_hinge` is half of the discriminator's loss: 1 if it cannot distinguish outputs from photos.

    Args:
        model: a trained image model that is not masked.
        weight: weight of the adversarial loss, above 0; the compiled loss has weight 1.
        discriminator: a layer from images to logits of any shape, positive for photos. Calls must not change its state.
            None for a `keras_recon.layers.PatchDiscriminator()`.

    Example:
    >>> model = keras_recon.load_model("autoencoder")
    >>> adversarial = keras_recon.AdversarialTraining(model, weight=1e-3)
    >>> adversarial.compile(keras.optimizers.Adam(1e-4), "mse")
    >>> images = np.random.rand(4, 64, 64, 3)
    >>> history = adversarial.fit(images, images, verbose=0)
    >>> model.save("autoencoder.keras")  # without the discriminator
    """

    def __init__(self, model: ImageModel, weight: float, discriminator: keras.layers.Layer | None = None, **kwargs):
        super().__init__(**{"dtype": model.dtype_policy, **kwargs}, autocast=False)
        if not weight > 0:
            raise ValueError(f"`weight` must be above 0. Received: weight={weight}")
        if model.is_masked:
            raise ValueError("`model` must not be masked. Received: a masked model")
        strategy = model.strategy if isinstance(model, PretrainedViTReconstructor) else "full"
        if strategy.startswith(("llrd", "gradual")):
            raise ValueError(
                "`model` must have a strategy without learning rates by depth, such as 'full' or 'last:4'. "
                f"Received: strategy={strategy!r}"
            )
        self.model = model
        self.weight = weight
        self.discriminator = discriminator or PatchDiscriminator(dtype=model.dtype_policy)
        if not self.discriminator.built:
            self.discriminator.build((None, None, None, model.image_shape[-1]))
        self.hinge = keras.losses.Hinge()
        self.discriminator_hinge = keras.metrics.Hinge(name="discriminator_hinge")
        self.built = True

    def call(self, images, training=None):
        return self.model(images, training=training)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """Compile as the model does; strings may be those of `keras_recon.losses.get` and `metrics.get`."""
        known = metrics and keras.tree.map_structure(named, metrics)
        super().compile(optimizer, losses.get(loss), loss_weights, known, **kwargs)

    def compile_from_config(self, config):
        """Compile a loaded wrapper, which Keras does only for classes without a `compile` method."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        adversarial = self.adversarial_loss(y, y_pred)  # in validation too, for its metric
        return loss + adversarial if training else loss

    def adversarial_loss(self, y_true, y_pred):
        """Return the loss of the discriminator plus the weighted adversarial loss of the model.

        Args:
            y_true: photos (batch, height, width, channels) in [0, 1].
            y_pred: outputs of the model, of the same shape.
        """
        discriminator_loss = 0.0
        for images, sign in ((y_true, 1.0), (ops.stop_gradient(y_pred), -1.0)):
            logits = self.discriminator(images)
            discriminator_loss += self.hinge(sign * ops.ones_like(logits), logits)
            self.discriminator_hinge.update_state(sign * ops.ones_like(logits), logits)
        variables = self.discriminator.trainable_variables, self.discriminator.non_trainable_variables
        constants = [[ops.stop_gradient(variable) for variable in group] for group in variables]
        images = ops.cast(y_pred, self.discriminator.compute_dtype)
        logits, _ = self.discriminator.stateless_call(*constants, images)
        # The hinge of the model ends at 0 too, where its outputs pass for photos by the margin, so no loss is negative.
        return discriminator_loss + self.weight * self.hinge(ops.ones_like(logits), logits)

    def get_config(self):
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "weight": self.weight,
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }

    @classmethod
    def from_config(cls, config):
        networks = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("model", "discriminator")}
        return cls(**{**config, **networks})
