import keras
import numpy as np
import pytest
from contracts import outputs_of, random_images
from keras import ops
from models.tiny_backbones import tiny_backbone

import keras_recon
from keras_recon import AdversarialTraining
from keras_recon.layers import PatchDiscriminator
from keras_recon.utils.files import save_weights

IMAGES = random_images(4, 16, 16, 3)


def model(**changes):
    network = keras_recon.models.ConvAutoencoder((16, 16, 3), (4, 8), latent_dim=4, **changes)
    network.adapt(IMAGES)
    return network


def values(variables):
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def trained(weight, steps=1, rate=1.0, loss="mse", **changes):
    """An adversarial training after steps of gradient descent; the discriminator's first weights never differ."""
    keras.utils.set_random_seed(0)
    network = model(**changes)
    keras.utils.set_random_seed(1)
    training = AdversarialTraining(network, weight, PatchDiscriminator((8, 16), dtype=network.dtype_policy))
    training.compile(keras.optimizers.SGD(rate), loss, metrics=["psnr"])
    history = training.fit(IMAGES, IMAGES, epochs=steps, batch_size=4, verbose=0, shuffle=False).history
    return training, history


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the reference is PyTorch's own gradient")
def test_gradients_are_those_of_two_trainings():
    """Of the model's loss over the model's weights, of the discriminator's over its own: each by itself in PyTorch."""
    import torch

    keras.utils.set_random_seed(0)
    network = model()
    adversary = AdversarialTraining(network, 0.3, PatchDiscriminator((8, 16)))
    images = torch.tensor(IMAGES)
    generator = [v.value for v in network.trainable_variables]
    critic = [v.value for v in adversary.discriminator.trainable_variables]
    together = torch.autograd.grad(
        adversary.adversarial_loss(images, network(images, training=True)), generator + critic, None
    )
    outputs = network(images, training=True)
    of_model = torch.autograd.grad(0.3 * torch.relu(1 - adversary.discriminator(outputs)).mean(), generator)
    outputs = network(images, training=True).detach()
    real, fake = (adversary.discriminator(x) for x in (images, outputs))
    of_critic = torch.autograd.grad(torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(), critic)
    for gradient, expected in zip(together, [*of_model, *of_critic]):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_models_loss_trains_no_discriminator_and_the_discriminators_no_model():
    (weak, _), (strong, _) = trained(1e-12), trained(10.0)
    for a, b in zip(values(weak.discriminator.trainable_variables), values(strong.discriminator.trainable_variables)):
        np.testing.assert_allclose(a, b, atol=1e-6)
    keras.utils.set_random_seed(0)
    alone = model()
    alone.compile(keras.optimizers.SGD(1.0), "mse")
    alone.fit(IMAGES, IMAGES, batch_size=4, verbose=0, shuffle=False)
    weights = [
        values(network.encoder.weights + network.decoder.weights + network.refiner.weights)
        for network in (alone, weak.model, strong.model)
    ]
    for a, b in zip(*weights[:2]):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert any(not np.allclose(a, b, atol=1e-4) for a, b in zip(weights[0], weights[2]))


def test_the_discriminator_learns_to_tell_outputs_from_photos():
    _, history = trained(1e-6, steps=60, rate=0.1)
    assert history["discriminator_hinge"][-1] < 0.7 * history["discriminator_hinge"][0]


def test_a_validation_is_of_the_models_own_loss():
    network, _ = trained(1.0)
    scores = network.evaluate(IMAGES, IMAGES, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(np.mean((outputs_of(network.model, IMAGES) - IMAGES) ** 2), rel=1e-4)
    assert scores["discriminator_hinge"] > 0


def test_backups_have_the_discriminator_and_the_model_has_none(tmp_path):
    training, _ = trained(0.1, steps=2)
    network = training.model
    save_weights(training, tmp_path / "step-2.weights.h5")
    other, _ = trained(0.1)
    assert not np.array_equal(values(other.discriminator.weights)[0], values(training.discriminator.weights)[0])
    other.load_weights(tmp_path / "step-2.weights.h5")
    for part in ("discriminator", "model", "optimizer"):
        pairs = zip(values(getattr(other, part).variables), values(getattr(training, part).variables), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a, b)
    outputs = outputs_of(network, IMAGES)
    assert network.count_params() == model().count_params() < training.count_params()
    network.save(tmp_path / "model.keras")
    loaded = keras_recon.load_model(tmp_path / "model.keras")
    for copy in (network, loaded, network.clone()):
        np.testing.assert_allclose(outputs_of(copy, IMAGES), outputs, atol=1e-6)
    network.compile("sgd", "mse")
    assert "discriminator_hinge" not in network.fit(IMAGES, IMAGES, verbose=0).history


def test_the_wrapper_can_be_saved_whole(tmp_path):
    training, _ = trained(0.1)
    training.save(tmp_path / "training.keras")
    loaded = keras.saving.load_model(tmp_path / "training.keras")
    for a, b in zip(values(loaded.weights), values(training.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(loaded.fit(IMAGES, IMAGES, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("lora", [False, True])
def test_copies_have_none(lora):
    network = model()
    if lora:
        network.enable_lora(2)
    AdversarialTraining(network, 0.1)
    for copy in (network.clone(), network.merged() if lora else network.clone(name="copy")):
        assert not [v.path for v in copy.weights if "discriminator" in v.path]
        np.testing.assert_allclose(outputs_of(copy, IMAGES), outputs_of(network, IMAGES), atol=1e-6)


def test_half_precision():
    network, history = trained(0.1, steps=2, rate=0.01, dtype="mixed_bfloat16")
    assert np.isfinite(history["loss"]).all() and network.discriminator.compute_dtype == "bfloat16"


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"`weight` must be above 0\. Received: weight=0"):
        AdversarialTraining(model(), 0.0)
    masked = keras_recon.models.ViTReconstructor(
        (16, 16, 3), num_layers=1, decoder_num_layers=1, mask_ratio=0.5, linear_path=False
    )
    with pytest.raises(ValueError, match="Received: a masked model"):
        AdversarialTraining(masked, 0.1)
    by_depth = keras_recon.models.PretrainedViTReconstructor(tiny_backbone(), latent_dim=5, strategy="llrd:0.5")
    with pytest.raises(ValueError, match=r"Received: strategy='llrd:0\.5'"):
        AdversarialTraining(by_depth, 0.1)
