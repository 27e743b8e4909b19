import keras
import numpy as np
import pytest
from contracts import POLICIES, check_training, outputs_of, random_images
from keras import ops
from models.test_vit import TINY

from keras_recon import metrics
from keras_recon.models import LinearReconstructor, ViTReconstructor
from keras_recon.ops import patchify

MASKED = {**TINY, "mask_ratio": 0.75, "seed": 1}
NORMALIZED = {**MASKED, "normalize_target": True}
CONFIGS = pytest.mark.parametrize("config", [MASKED, NORMALIZED], ids=["pixels", "normalized"])


def to_numpy(x):
    return ops.convert_to_numpy(x)


def noisy(model):
    """The model with weights that no zeros hide anything of."""
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


def random_masks(batch, hidden):
    return (
        np.random.default_rng(1)
        .permuted(np.arange(16) < hidden + 0 * np.arange(batch)[:, None], axis=1)
        .reshape(-1, 4, 4)
    )


def pixels(mask):
    return np.kron(mask, np.ones((1, 4, 4), bool))[..., None]


@pytest.mark.parametrize("config, policies", [(MASKED, POLICIES), (NORMALIZED, POLICIES[-1:])])
def test_contract(config, policies, tmp_path):
    """As `contracts.check_model`, but that outputs are not the decoded latents of whole images."""
    model = noisy(ViTReconstructor.from_config(config))
    images = random_images(4, 16, 16, 3)
    assert model.num_visible == 4 and model.fixed_mask.sum() == 12
    outputs = outputs_of(model, images)
    assert outputs.shape == images.shape and outputs.dtype == np.float32
    assert outputs.min() >= 0 and outputs.max() <= 1
    np.testing.assert_array_equal(outputs_of(model, images), outputs)
    hidden = np.broadcast_to(pixels(model.fixed_mask), images.shape)
    np.testing.assert_array_equal(outputs[~hidden], images[~hidden])
    assert np.abs(outputs - images)[hidden].min() < np.abs(outputs - images)[hidden].max()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(outputs_of(loaded, images), outputs, atol=1e-6)
    for policy in policies:
        model = ViTReconstructor.from_config({**config, "dtype": policy})
        assert {layer.dtype_policy.name for layer in model.layers} <= {policy, "float32"}
        model.adapt(images)
        check_training(model, images)
        assert np.isfinite(outputs_of(model, images)).all()


def test_without_a_ratio_nothing_changes():
    """A masked model has one weight more, the token; with equal weights it encodes and decodes the same."""
    models = [ViTReconstructor.from_config({**config, "linear_path": True}) for config in (TINY, MASKED)]
    plain, masked = ({v.path.partition("/")[2]: v for v in model.weights} for model in models)
    assert masked.keys() - plain.keys() == {"mask_token/token"}
    assert len(models[0].variables) == len(plain)  # no seeds
    for path, variable in plain.items():
        masked[path].assign(variable)
    images = random_images(2, 16, 16, 3)
    encoded = [to_numpy(model.encode(images)) for model in models]
    np.testing.assert_array_equal(*encoded)
    np.testing.assert_array_equal(to_numpy(models[0](images)), to_numpy(models[1].decode(encoded[1])))


@CONFIGS
@pytest.mark.parametrize("hidden", [12, 5, 0])
def test_hidden_pixels_change_nothing(config, hidden):
    model = noisy(ViTReconstructor(**config))
    images = random_images(3, 16, 16, 3)
    mask = random_masks(3, hidden)
    other = np.where(pixels(mask), np.float32(np.nan), images)  # nothing that touches it stays finite
    for function in (
        lambda x: model(x, patch_mask=mask, training=False),
        lambda x: model.reconstruct_masked(x, mask),
        lambda x: model.encode(x, patch_mask=mask),
    ):
        np.testing.assert_array_equal(to_numpy(function(images)), to_numpy(function(other)))
    fixed = np.where(pixels(model.fixed_mask), np.float32(np.nan), images)
    np.testing.assert_array_equal(outputs_of(model, images), outputs_of(model, fixed))
    shown = model.visible_part(images)
    np.testing.assert_array_equal(shown, np.where(pixels(model.fixed_mask), np.float32(0.5), images))


def test_visible_patches_are_encoded_as_if_there_were_no_others():
    """The reference runs the encoder's parts on tokens that NumPy selects."""
    model = noisy(ViTReconstructor(**MASKED))
    images = random_images(3, 16, 16, 3)
    mask = random_masks(3, 11)
    encoder = model.encoder
    patches = to_numpy(patchify(ops.convert_to_tensor(images), 4))
    tokens = to_numpy(encoder.positions(encoder.embedding(4 * patches - 2)))
    tokens = ops.convert_to_tensor(tokens[~mask].reshape(3, 5, 16))
    for block in encoder.blocks:
        tokens = block(tokens)
    features = model.latent_head(encoder.norm(tokens)) / 16
    expected = np.tile(to_numpy(model.mask_token.token), (3, 4, 4, 1))
    expected[~mask] = to_numpy(features).reshape(-1, 5) + to_numpy(model.linear.encode(patches[~mask]))
    np.testing.assert_allclose(to_numpy(model.encode(images, patch_mask=mask)), expected, atol=1e-5)
    # With nothing hidden it is the encoding without a mask.
    everything = to_numpy(model.encode(images, patch_mask=np.zeros((3, 4, 4), bool)))
    np.testing.assert_allclose(everything, to_numpy(model.encode(images)), atol=1e-5)


def test_it_starts_at_pca_where_visible_and_at_the_mean_patch_where_hidden():
    images = random_images(40, 16, 16, 3)
    model = ViTReconstructor(**MASKED)
    pca = LinearReconstructor(**{name: TINY[name] for name in ("image_shape", "patch_size", "latent_dim")})
    for each in (model, pca):
        each.adapt(images)
    mask = random_masks(40, 12)
    mean = images.reshape(40, 4, 4, 4, 4, 3).mean((0, 1, 3), dtype="float64")  # (4, 4, 3), a patch
    expected = np.where(pixels(mask), np.tile(mean, (4, 4, 1)), outputs_of(pca, images))
    np.testing.assert_allclose(to_numpy(model.reconstruct_masked(images, mask)), expected, atol=1e-5)
    np.testing.assert_allclose(
        to_numpy(model(images, patch_mask=mask)), np.where(pixels(mask), expected, images), atol=1e-5
    )


def test_normalised_it_starts_at_the_neighbours_mean():
    """With heads of zeros the prediction is 0: a visible patch's mean, an average of them where hidden."""
    images = random_images(2, 16, 16, 3)
    model = ViTReconstructor(**NORMALIZED)
    mask = np.zeros((2, 4, 4), bool)
    mask[:, 1, 2] = True
    raw = to_numpy(model.reconstruct_masked(images, mask)).reshape(2, 4, 4, 4, 4, 3)
    means = images.reshape(2, 4, 4, 4, 4, 3).mean((2, 4, 5))
    np.testing.assert_allclose(raw.mean((2, 4, 5))[~mask], means[~mask], atol=1e-5)
    rows, columns = np.mgrid[:4, :4]
    distances = np.hypot(rows - 1, columns - 2)[~mask[0]]
    expected = np.average(means[:, ~mask[0]], axis=1, weights=1 / distances**4)
    np.testing.assert_allclose(raw[:, 1, :, 2].mean((1, 2, 3)), expected, atol=1e-5)


def test_training_draws_and_its_seed_is_saved(tmp_path):
    images = random_images(4, 16, 16, 3)
    model = noisy(ViTReconstructor(**MASKED))
    first, second = (to_numpy(model(images, training=True)) for _ in range(2))
    hidden = [(output != images).reshape(4, 4, 4, 4, 4, 3).any((2, 4, 5)) for output in (first, second)]
    assert not np.array_equal(*hidden) and (hidden[0].sum((1, 2)) == 12).all()
    assert len(np.unique(hidden[0].reshape(4, -1), axis=0)) > 1  # each image its own
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(to_numpy(m(images, training=True)) for m in (model, loaded)))


@CONFIGS
def test_compiled_training_compares_hidden_patches_alone_and_learns_them(config):
    """What a hidden patch holds, its neighbours tell: the image's colour, and the same ramp as in all patches."""
    colours = np.random.default_rng(0).uniform(0.2, 0.7, (64, 1, 1, 3))
    images = (colours + np.tile(np.linspace(0, 0.3, 4), 4)[:, None] + np.zeros((16, 1, 1))).astype("float32")
    model, copy = (ViTReconstructor(**config) for _ in range(2))
    copy.set_weights(noisy(model).get_weights())
    outputs = copy(images, training=True)  # from the masks that the model will draw
    pictures = outputs if config is MASKED else outputs["images"]
    model.compile(keras.optimizers.Adam(0.0, epsilon=1e-10), "mse", metrics=[metrics.PSNR()])
    options = {"batch_size": 64, "shuffle": False, "verbose": 0}
    logs = model.fit(images, images, **options).history
    errors = np.square(to_numpy(pictures) - images)
    assert abs(logs["psnr"][0] - np.mean(-10 * np.log10(errors.mean((1, 2, 3))))) < 1e-3
    if config is NORMALIZED:
        blocks = images.reshape(64, 4, 4, 4, 4, 3).astype("float64")
        mean, std = (f((2, 4, 5), keepdims=True) for f in (blocks.mean, blocks.std))
        target = ((blocks - mean) / np.sqrt(std**2 + 1e-6)).reshape(images.shape)
        errors = np.square(to_numpy(outputs["normalized"]) - target)
    assert abs(logs["loss"][0] / errors.mean() - 1) < 1e-3
    # Of a quarter of the patches, the input itself is the output.
    assert np.mean(errors.reshape(64, 4, 4, 4, 4, 3).max((2, 4, 5)) < 1e-6) == 0.25
    model.optimizer.learning_rate = 1e-2
    assert model.fit(images, images, epochs=60, **options).history["loss"][-1] < 0.7 * logs["loss"][0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mask_ratio": 1.0}, "mask_ratio=1.0"),
        ({"mask_ratio": -0.1}, "mask_ratio=-0.1"),
        ({"mask_ratio": 0.01}, "at least one of the 16 patches.* mask_ratio=0.01"),
        ({"mask_ratio": 0.0, "normalize_target": True}, "normalize_target=True"),
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        ViTReconstructor(**{**MASKED, **changes})


def test_wrong_masks_get_one_sentence():
    images = random_images(2, 16, 16, 3)
    mask = random_masks(2, 12)
    with pytest.raises(ValueError, match=r"mask_ratio=0\.0"):
        ViTReconstructor(**TINY)(images, patch_mask=mask)
    model = ViTReconstructor(**MASKED)
    with pytest.raises(ValueError, match=r"shape \(2, 4, 3\)"):
        model(images, patch_mask=mask[:, :, :3])
    mask[0, 0, 0] = ~mask[0, 0, 0]
    with pytest.raises(ValueError, match="same number of patches visible"):
        model(images, patch_mask=mask)
    with pytest.raises(ValueError, match="normalize_target=True"):
        ViTReconstructor(**NORMALIZED).decode(np.zeros((1, *model.latent_shape), "float32"))


@pytest.mark.parametrize("config", [MASKED, {**TINY, "mask_ratio": 0.75, "linear_path": False}])
def test_masks_are_inputs_of_a_functional_model(config):
    model, images, mask = noisy(ViTReconstructor(**config)), random_images(2, 16, 16, 3), random_masks(2, 12)
    inputs = [keras.Input((16, 16, 3)), keras.Input((4, 4), dtype="bool")]
    functional = keras.Model(inputs, model(inputs[0], patch_mask=inputs[1]))
    expected = to_numpy(model(images, patch_mask=mask))
    np.testing.assert_allclose(to_numpy(functional([images, mask])), expected, atol=1e-5)
