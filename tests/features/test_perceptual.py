import keras
import numpy as np
import pytest
from contracts import EAGER, check_loss, check_metric, outputs_of, random_images
from keras import ops
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

import keras_recon
from keras_recon import losses, metrics
from keras_recon.features import LPIPS, FeatureExtractor, perceptual_distance

Y_TRUE, Y_PRED = random_images(3, 16, 16, 3, seed=1), random_images(3, 16, 16, 3, seed=2)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return str(save_as_hugging_face(tiny_backbone(), tmp_path_factory.mktemp("preset") / "tiny"))


def model():
    return keras_recon.models.ConvAutoencoder((16, 16, 3), (4, 8), latent_dim=4)


def test_it_is_the_sum_over_depths_of_the_distances_of_unit_vectors(preset):
    extractors = [FeatureExtractor.from_preset(preset, depths=(depth,)) for depth in (1, 3)]
    squares = [((outputs_of(e, Y_TRUE) - outputs_of(e, Y_PRED)) ** 2).sum(-1).mean((1, 2)) for e in extractors]
    distances = ops.convert_to_numpy(perceptual_distance(Y_TRUE, Y_PRED, preset, (1, 3)))
    np.testing.assert_allclose(distances, sum(squares), rtol=1e-4)


@pytest.mark.parametrize("shape", [(24, 16, 3), (16, 16, 1), (19, 22, 3)])
def test_images_of_any_size_are_seen(preset, shape):
    images, others = random_images(2, *shape), random_images(2, *shape, seed=1)
    assert np.all(ops.convert_to_numpy(perceptual_distance(images, others, preset)) > 1e-3)
    with pytest.raises(ValueError, match=r"`side` must be at least a patch, 4 pixels. Received: side=\(3, 8\)"):
        perceptual_distance(random_images(1, 3, 8, 3), random_images(1, 3, 8, 3), preset)
    with pytest.raises(ValueError, match=r"known size. Received: shape=\(None, None, 16, 3\)"):
        perceptual_distance(*[keras.Input((None, 16, 3))] * 2, preset)


def test_lpips_of_a_file(tmp_path):
    layer = LPIPS("alex")
    np.savez(tmp_path / "alex.npz", **layer.named_arrays())
    images = [random_images(2, 64, 64, 3, seed=seed) for seed in (1, 2)]
    text = f"perceptual:{tmp_path / 'alex.npz'}"
    expected = ops.convert_to_numpy(layer(*images)).mean()
    assert float(losses.from_string(text)(*images)) == pytest.approx(expected, rel=1e-5)
    metric = metrics.get(text)
    metric.update_state(*images)
    assert metric.name == "perceptual_alex" and float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_contracts(preset):
    for text in (f"perceptual:{preset}", f"mse+0.1*perceptual:{preset}:1,3"):
        check_loss(losses.from_string(text))
    check_metric(metrics.PerceptualDistance(preset, (1, 2)), Y_TRUE, Y_PRED)
    check_metric(metrics.FrechetDistance(preset), random_images(40, 16, 16, 3), random_images(40, 16, 16, 3, seed=3))


@pytest.mark.parametrize("eager", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_moves_towards_the_features_and_leaves_the_backbone_alone(preset, eager, tmp_path):
    """Compiled, and in JAX without state; what is saved has nothing of the backbone and needs no preset."""
    network, plain = model(), model()
    scores = [f"perceptual:{preset}:2", f"frechet:{preset}:3", "psnr"]
    network.compile(keras.optimizers.Adam(1e-2), f"mse+perceptual:{preset}:1,3", metrics=scores, run_eagerly=eager)
    count = len(network.weights)
    history = network.fit(Y_TRUE, Y_TRUE, batch_size=1, epochs=1 if eager else 8, verbose=0).history
    names = ["perceptual_tiny_2", "frechet_tiny_3"]
    assert np.isfinite([history[name] for name in (*names, "loss")]).all()
    assert eager or history[names[0]][-1] < 0.8 * history[names[0]][0]
    assert len(network.weights) == count
    network.save(tmp_path / "model.keras")
    plain.compile("adam", "mse", metrics=["psnr"], run_eagerly=EAGER)
    plain.fit(Y_TRUE, Y_TRUE, verbose=0)
    plain.save(tmp_path / "plain.keras")
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("model", "plain")]
    assert sizes[0] < sizes[1] + 10_000


def test_a_trained_model_loads_without_the_preset(preset, tmp_path):
    folder = save_as_hugging_face(tiny_backbone(), tmp_path / "gone")
    network = model()
    scores = [f"perceptual:{folder}", f"frechet:{folder}"]
    network.compile("adam", f"mse+0.1*perceptual:{folder}", metrics=scores, run_eagerly=EAGER)
    network.fit(Y_TRUE, Y_TRUE, verbose=0)
    network.save(tmp_path / "model.keras")
    folder.rename(tmp_path / "elsewhere")
    for loaded in (keras.saving.load_model(tmp_path / "model.keras"), keras_recon.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(outputs_of(loaded, Y_TRUE), outputs_of(network, Y_TRUE), atol=1e-6)


def test_specifications():
    loss = losses.from_string("charbonnier+0.5*perceptual:hf://google/vit-base-patch16-224:1,3,5")
    assert loss.weights == [1.0, 0.5]
    assert (loss.losses[1].preset, loss.losses[1].depths) == ("hf://google/vit-base-patch16-224", (1, 3, 5))
    metric = metrics.named("perceptual:deit/tiny")
    assert (metric.preset, metric.depths, metric.name) == ("deit/tiny", None, "perceptual_tiny")
    for text in ("perceptual", "perceptual:", "mse:tiny", "0.1*perceptual"):
        with pytest.raises(ValueError, match=r"'perceptual:PRESET'.*Received: loss="):
            losses.from_string(text)
    assert metrics.named("perceptual:") == "perceptual:"
    with pytest.raises(ValueError, match=r"one block at most.* Received: 'frechet:tiny:4,8'"):
        metrics.named("frechet:tiny:4,8")
