import keras
import numpy as np
import pytest
from compression.tiny_codecs import TINY, tiny_codec
from contracts import EAGER, random_images
from keras import ops

import keras_recon
from keras_recon.compression import ImageCodec
from keras_recon.metrics import PSNR

IMAGES = random_images(4, 64, 32, 3)


@pytest.fixture(scope="module")
def codec():
    return tiny_codec()


def answers(codec, inputs=IMAGES):
    return {name: ops.convert_to_numpy(value) for name, value in codec(inputs).items()}


def scores(codec, *data, **options):
    return codec.evaluate(*data, verbose=0, return_dict=True, **options)


def test_a_dictionary_of_images_in_range_and_of_their_bits(codec):
    qualities = np.array([0, 0.3, 0.3, 1], "float32")
    outputs = answers(codec, (IMAGES, qualities))
    assert outputs["images"].shape == IMAGES.shape and outputs["images"].dtype == np.float32
    assert outputs["images"].min() >= 0 and outputs["images"].max() <= 1
    assert outputs["bits_per_pixel"].shape == (4,) and (outputs["bits_per_pixel"] > 0).all()
    np.testing.assert_array_equal(outputs["quality"], qualities)
    # Alone, each image is what it is among others, and a quality that is not given is the attribute.
    codec.quality = 0.3
    alone = answers(codec, IMAGES[1:2])
    np.testing.assert_allclose(alone["images"], outputs["images"][1:2], atol=1e-5)
    np.testing.assert_allclose(alone["bits_per_pixel"], outputs["bits_per_pixel"][1:2], rtol=1e-4)
    assert alone["quality"] == np.float32(0.3)
    finest, coarsest = (answers(codec, (IMAGES, np.full(4, q)))["bits_per_pixel"] for q in (1, 0))
    assert (finest > coarsest).all()


def test_in_training_qualities_are_drawn(codec):
    first, second = (ops.convert_to_numpy(codec(IMAGES, training=True)["quality"]) for _ in range(2))
    assert len({*first, *second}) == 8 and min(*first, *second) >= 0 and max(*first, *second) <= 1
    given = ops.convert_to_numpy(codec((IMAGES, np.full(4, 0.7)), training=True)["quality"])
    np.testing.assert_array_equal(given, np.float32(0.7))


def test_knots_are_interpolated(codec):
    knots = ops.convert_to_numpy(codec.knots(np.array([0, 0.25, 0.3, 1])))
    expected = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0.8, 0.2, 0, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_allclose(knots, expected, atol=1e-6)
    assert ImageCodec(**{**TINY, "num_knots": 2}).knots(np.array([0.25])).shape == (1, 2)


def test_after_adapt_it_is_an_orthonormal_transform_codec():
    images = random_images(24, 64, 64, 3)
    weights = (0.01, 10.0)
    codec = ImageCodec(**{**TINY, "slices": (64, 128)}, distortion_weights=weights)
    codec.adapt(images)
    codec.quality = 1.0
    outputs = answers(codec, images)
    basis = ops.convert_to_numpy(codec.basis)
    np.testing.assert_allclose(basis @ basis.T, np.eye(192), atol=1e-5)
    # The best step for a weight w has an error of step^2 / 12, of which 2 w step^2 / 12 = 3 / ln 2 bits for 3 values.
    step = np.sqrt(18 / (np.log(2) * weights[1]))
    assert abs(codec.default_step(1.0) - step) < 1e-6
    inner = np.abs(images - 0.5) < 0.45  # what is not clipped
    error = np.square(255 * (outputs["images"] - images))[inner].mean()
    assert abs(error / (step**2 / 12) - 1) < 0.05
    # Each latent costs the entropy of its quantised density, which is at most a Gaussian's.
    patches = ops.convert_to_numpy(codec.patches(images)).reshape(-1, 192)
    latents = 255 * (patches - patches.mean(axis=0)) @ basis.T
    gaussian = 0.5 * np.log2(2 * np.pi * np.e * np.square(latents.std(axis=0) / step)).sum() / 64
    codec.quality = 0.5  # where the scales are those of `adapt`
    at_middle = gaussian - 3 * np.log2(codec.default_step(0.5) / step)
    bits = answers(codec, images)["bits_per_pixel"].mean()
    assert at_middle < bits < at_middle + 3 * 0.3


def test_adapt_takes_batches_pairs_and_what_does_not_vary():
    images = random_images(6, 64, 32, 3)
    whole, batches, pairs, gray = (ImageCodec(**TINY) for _ in range(4))
    whole.adapt(images)
    batches.adapt([images[:4], images[4:]])
    pairs.adapt([(1 - images[:4], images[:4]), (images[:2], images[4:])])
    for codec in (batches, pairs):
        for array, expected in zip(codec.get_weights(), whole.get_weights()):
            if array.shape in ((192,), (8, 192)):
                np.testing.assert_allclose(array, expected, atol=1e-6)
    gray.adapt(np.full_like(images, 0.25))
    outputs = answers(gray, np.full_like(images, 0.25))
    np.testing.assert_allclose(outputs["images"], 0.25, atol=1e-5)
    assert outputs["bits_per_pixel"].max() < 8 / 64 * 0.1 + TINY["hyper_dim"] * 2.1 / 1024
    with pytest.raises(ValueError, match=r"`data` must be float images in \[0, 1\].*uint8"):
        gray.adapt(np.zeros((2, 64, 32, 3), "uint8"))


def test_fit_moves_every_weight_and_lowers_the_loss():
    images = random_images(16, 64, 32, 3)
    codec = ImageCodec(**TINY)
    codec.adapt(images)
    pairs = images, np.linspace(0, 1, 16, dtype="float32")
    codec.log_inverse_gain.assign(codec.log_inverse_gain + 0.5)  # which training must mend
    codec.compile(keras.optimizers.Adam(5e-3, epsilon=1e-10))
    start, before = scores(codec, pairs, images)["loss"], codec.get_weights()
    history = codec.fit(images, images, batch_size=4, epochs=12, verbose=0).history
    assert {*history} == {"loss", "bits_per_pixel"} and np.isfinite(history["loss"]).all()
    assert scores(codec, pairs, images)["loss"] < 0.8 * start
    trained = {id(weight) for weight in codec.trainable_weights}
    for old, weight in zip(before, codec.weights):
        moved = not np.array_equal(old, ops.convert_to_numpy(weight))
        assert moved == (id(weight) in trained), weight.path


def test_fit_takes_qualities(codec):
    codec.compile(keras.optimizers.SGD(0.0), run_eagerly=EAGER)
    qualities = np.array([0, 1, 0.5, 1], "float32")
    loss = codec.fit((IMAGES, qualities), IMAGES, verbose=0).history["loss"][0]
    outputs = codec((IMAGES, qualities), training=True)  # of other noise
    errors = np.square(ops.convert_to_numpy(outputs["images"]) - IMAGES).mean(axis=(1, 2, 3))
    expected = 0.002 * 35**qualities * 255**2 * errors + ops.convert_to_numpy(outputs["bits_per_pixel"])
    assert abs(loss / expected.mean() - 1) < 0.01


def test_the_loss_is_weighted_distortion_plus_bits_at_each_quality(codec):
    codec.compile(metrics=["mse", PSNR()])
    for quality in (0.0, 1.0):  # a step compiled for one must not answer for the next
        codec.quality = quality
        found = scores(codec, IMAGES, IMAGES, batch_size=3)
        assert {*found} == {"loss", "bits_per_pixel", "mse", "psnr"}
        weight = 0.002 * 35**quality
        assert abs(found["loss"] / (weight * 255**2 * found["mse"] + found["bits_per_pixel"]) - 1) < 1e-4
        outputs = answers(codec)
        np.testing.assert_allclose(found["mse"], np.square(outputs["images"] - IMAGES).mean(), rtol=1e-3)
        np.testing.assert_allclose(found["bits_per_pixel"], outputs["bits_per_pixel"].mean(), rtol=1e-3)
        predicted = codec.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(predicted["bits_per_pixel"], outputs["bits_per_pixel"], rtol=1e-3)
    pairs = scores(codec, (IMAGES, np.ones(4, "int32")), IMAGES)
    np.testing.assert_allclose(list(pairs.values()), list(found.values()), rtol=1e-3)


@pytest.mark.parametrize("loss", ["ssim", "charbonnier+0.2*ssim", "l1", keras.losses.Huber()])
def test_losses_of_images_and_of_pixels_are_weighted_alike(codec, loss):
    codec.compile(loss=loss, run_eagerly=EAGER)
    qualities, used = np.array([0, 0.2, 0.7, 1], "float32"), np.array([1, 0, 2, 0.5], "float32")
    outputs = answers(codec, (IMAGES, qualities))
    loss = keras_recon.losses.get(loss)
    of_each = np.array([float(loss(IMAGES[i : i + 1], outputs["images"][i : i + 1])) for i in range(4)])
    expected = 0.002 * 35**qualities * 255**2 * of_each + outputs["bits_per_pixel"]
    assert abs(scores(codec, (IMAGES, qualities), IMAGES)["loss"] / expected.mean() - 1) < 1e-3
    weighted = scores(codec, (IMAGES, qualities), IMAGES, sample_weight=used)["loss"]
    assert abs(weighted / (used * expected).mean() - 1) < 1e-3


def test_ms_ssim_beside_the_weights_of_the_squared_error(codec):
    images = random_images(2, 192, 192, 3)
    codec.compile(loss="0.02*ms_ssim")
    outputs = {"images": images[::-1], "bits_per_pixel": np.array([1.0, 2]), "quality": np.array([0.0, 1])}
    value = float(codec.compute_loss(y=images, y_pred={name: ops.cast(v, "float32") for name, v in outputs.items()}))
    of_each = 1 - ops.convert_to_numpy(keras_recon.metrics.multi_scale_ssim(images, outputs["images"]))
    assert abs(value / ((0.02 * 255**2 * np.array([0.002, 0.07]) * of_each).mean() + 1.5) - 1) < 1e-3


def test_files_presets_and_clones_have_all_weights(codec, tmp_path):
    codec.quality = 0.5
    codec.compile(metrics=[PSNR()], run_eagerly=EAGER)
    expected = answers(codec)
    codec.save(tmp_path / "model.keras")
    codec.save_to_preset(tmp_path / "preset")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for copy in (loaded, codec.clone(), ImageCodec.from_preset(tmp_path / "preset")):
        assert copy.get_config() == codec.get_config()
        for a, b in zip(copy.weights, codec.weights, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
        for name, array in answers(copy).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)
    named = {weight.path.split("/")[-1] for weight in codec.weights}
    assert {"mean", "basis", "input_scale", "log_gain", "log_inverse_gain", "hyper_log_scale"} <= named
    assert scores(loaded, IMAGES, IMAGES) == pytest.approx(scores(codec, IMAGES, IMAGES), rel=1e-4)  # compiled alike
    assert codec.get_config() == {**codec.get_config(), **TINY}


def test_half_precision_is_of_the_networks_alone():
    codec = tiny_codec(dtype="mixed_bfloat16")
    kinds = {weight.path.split("/")[1]: weight.dtype for weight in codec.weights}
    assert {*kinds.values()} == {"float32"}
    assert codec.encoder.compute_dtype == codec.decoder.compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in codec.entropy_model._flatten_layers()} == {"float32"}
    whole = tiny_codec()
    whole.set_weights(codec.get_weights())
    outputs, expected = answers(codec), answers(whole)
    assert {array.dtype for array in outputs.values()} == {np.dtype("float32")}
    np.testing.assert_allclose(outputs["bits_per_pixel"], expected["bits_per_pixel"], rtol=0.05)
    assert np.abs(outputs["images"] - expected["images"]).mean() < 0.01
    codec.compile("adam", run_eagerly=EAGER)
    assert np.isfinite(codec.fit(IMAGES, IMAGES, verbose=0).history["loss"]).all()


def test_summary_and_functional_models_of_any_size(codec):
    lines = []
    codec.summary(line_length=160, expand_nested=True, print_fn=lines.append)
    for name in ("encoder (ConvEncoder)", "entropy_model (EntropyModel)", "hidden_1 (Conv2D)", "Total params"):
        assert name in "\n".join(lines)
    images, quality = keras.Input((None, None, 3)), keras.Input(())
    outputs = codec((images, quality))
    assert outputs["images"].shape == (None, None, None, 3) and outputs["bits_per_pixel"].shape == (None,)
    model = keras.Model([images, quality], outputs)
    qualities = np.array([0.1, 0.9, 0.5, 1], "float32")
    expected = answers(codec, (IMAGES, qualities))
    for name, array in model([IMAGES, qualities]).items():
        np.testing.assert_allclose(ops.convert_to_numpy(array), expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"filters": (4, 8)}, r"filters=\(4, 8\)"),
        ({"num_blocks": (1,)}, r"num_blocks=\(1,\)"),
        ({"slices": (100, 93)}, r"add up to 1 to 192.*slices=\(100, 93\)"),
        ({"slices": ()}, r"slices=\(\)"),
        ({"num_knots": 1}, "num_knots=1"),
        ({"distortion_weights": (0.1, 0.1)}, r"`distortion_weights` must be two rising numbers.*\(0.1, 0.1\)"),
    ],
)
def test_wrong_arguments_get_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        ImageCodec(**{**TINY, **changes})


def test_wrong_images_qualities_and_losses_get_one_sentence(codec):
    with pytest.raises(
        ValueError, match=r"\(batch, height, width, 3\), height and width multiples of 32.*\(1, 40, 64, 3\)"
    ):
        codec(np.zeros((1, 40, 64, 3), "float32"))
    with pytest.raises(ValueError, match=r"must be float in .*uint8"):
        codec((np.zeros((1, 64, 64, 3), "uint8"), np.array([0.5])))
    with pytest.raises(ValueError, match="divide by 255"):
        codec.fit(255 * IMAGES, IMAGES)
    with pytest.raises(ValueError, match=r"`quality` must be from 0 to 1\. Received: quality=1.5"):
        codec.quality = 1.5
    for loss in (None, "huber"):
        with pytest.raises(ValueError, match=r"`loss` must be a `keras.losses.Loss`, or a text"):
            codec.compile(loss=loss)
