import keras
import numpy as np
import pytest
import skimage.data
from contracts import outputs_of, random_images
from keras import ops
from models.test_vit import TINY

from keras_recon.models import ConvAutoencoder, LinearReconstructor, ViTReconstructor


def test_adapt_takes_arrays_batches_and_pairs_and_stops_reading():
    images = random_images(24, 16, 16, 3)
    read = []

    def batches(pairs):
        for start in range(0, 24, 6):
            read.append(start)
            clean = images[start : start + 6]
            yield (clean, clean) if pairs else clean

    weights = []
    for data in (images, batches(False), batches(True)):
        model = ViTReconstructor(**TINY)
        model.adapt(data, max_patches=16 * 12)
        weights.append(ops.convert_to_numpy(model.linear.encoder))
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])
    assert read == [0, 6, 0, 6]  # 12 images hold the patches asked for


def test_adapt_to_pairs_undoes_what_is_linear():
    images = random_images(24, 16, 16, 3)
    model = LinearReconstructor((16, 16, 3), 4, 48)
    model.adapt([(0.5 * images + 0.1, images)])
    np.testing.assert_allclose(outputs_of(model, 0.5 * images + 0.1), images, atol=1e-4)


@pytest.mark.parametrize("model_class, sizes", [(ViTReconstructor, TINY), (ConvAutoencoder, {"filters": (6, 8)})])
def test_the_lapped_path_starts_above_pca_and_without_edges(model_class, sizes, tmp_path):
    photo = skimage.data.astronaut()[:, :, :].astype("float32") / 255
    images = photo.reshape(16, 32, 16, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    sizes = {**sizes, "image_shape": (32, 32, 3), "latent_dim": 6}
    lapped, pca = (model_class(**sizes, linear_path=path) for path in ("lapped", True))

    def score(model):
        model.adapt(images)
        outputs = outputs_of(model, images)
        return -10 * np.log10(np.square(outputs - images).mean((1, 2, 3))).mean(), steps_at_borders(outputs)

    (psnr, steps), (pca_psnr, pca_steps) = score(lapped), score(pca)
    assert psnr > pca_psnr + 0.4
    assert steps - 1 < (pca_steps - 1) / 3
    lapped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(loaded, images[:4]), outputs_of(lapped, images[:4]), atol=1e-6)


def steps_at_borders(images):
    """Mean absolute difference of neighbours across the borders of 4x4 patches, over that inside them."""
    across, inside = [], []
    for axis in (1, 2):
        steps = np.moveaxis(np.abs(np.diff(images, axis=axis)), axis, 0)
        border = np.arange(len(steps)) % 4 == 3
        across.append(steps[border].mean())
        inside.append(steps[~border].mean())
    return sum(across) / sum(inside)


def test_masked_models_have_no_lapped_path():
    """Its windows would show what is hidden."""
    assert ViTReconstructor(**TINY).linear_path == "lapped"
    assert ViTReconstructor(**TINY, mask_ratio=0.5).linear_path is True
    with pytest.raises(ValueError, match="linear_path='wavelets'"):
        ViTReconstructor(**TINY, linear_path="wavelets")


def test_adapt_without_linear_path_is_refused():
    with pytest.raises(ValueError, match="linear_path=False"):
        ViTReconstructor(**TINY, linear_path=False).adapt(random_images(4, 16, 16, 3))


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.weights.h5"
    model = ViTReconstructor(**TINY)
    model.save_weights(path)
    before = path.read_bytes()

    def fail(store):
        raise OSError("disk full")

    monkeypatch.setattr(model.encoder.embedding, "save_own_variables", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_weights(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.weights.h5"]


def test_a_disk_that_fills_at_any_byte_raises_and_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource", reason="file sizes are limited on Unix alone")
    for path in (tmp_path / "model.weights.h5", tmp_path / "model.keras"):
        model = ViTReconstructor(**TINY)
        save = model.save if path.suffix == ".keras" else model.save_weights
        save(path)
        before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        for size in range(0, len(before), len(before) // 12):
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
                with pytest.raises(OSError, match=f"Cannot write {path}: File too large"):
                    save(path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert path.read_bytes() == before
        model.load_weights(path)
    assert {p.name for p in tmp_path.iterdir()} == {"model.weights.h5", "model.keras"}


def test_seeds_of_dropout_survive_saving(tmp_path):
    images = random_images(4, 16, 16, 3)
    model = ViTReconstructor(**TINY, dropout_rate=0.3, linear_path=False)
    model(images, training=True)  # moves the seeds on
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    drawn = [ops.convert_to_numpy(m(images, training=True)) for m in (model, loaded)]
    np.testing.assert_array_equal(*drawn)


def test_predict_takes_any_batch_size():
    model = ViTReconstructor(**TINY)
    images = random_images(5, 16, 16, 3)
    np.testing.assert_allclose(
        model.predict(images, batch_size=5, verbose=0), model.predict(images, batch_size=2, verbose=0), atol=1e-6
    )


def test_adapt_on_nothing_says_so():
    with pytest.raises(ValueError, match="Received: 0 patches"):
        ViTReconstructor(**TINY).adapt([])


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (2, 30, 32, 3), (2, 32, 0, 3)])
def test_adapt_refuses_parts_of_patches(shape):
    with pytest.raises(ValueError, match=f"multiples of 4. Received: {shape[1]}x{shape[2]}"):
        ViTReconstructor(**TINY).adapt(np.zeros(shape, "float32"))


def test_without_an_encoder_there_is_no_lora():
    with pytest.raises(ValueError, match="Received: a LinearReconstructor"):
        LinearReconstructor().enable_lora(4)


@pytest.mark.parametrize("model_class", [ConvAutoencoder, LinearReconstructor])
def test_fully_convolutional_models_take_other_sizes(model_class):
    model = model_class((32, 32, 3))
    model.adapt(random_images(20, 32, 32, 3))
    larger = model.for_image_shape((64, 96, 3))
    assert larger.image_shape == (64, 96, 3) and larger.latent_shape[:2] == (8, 12)
    images = random_images(2, 64, 96, 3)
    # The network is zero at first: what is left is the linear path, which reaches a patch and a half far.
    corner = outputs_of(larger, images)[:, :20, :20]
    np.testing.assert_allclose(corner, outputs_of(model, images[:, :32, :32])[:, :20, :20], atol=1e-5)
    for a, b in zip(model.get_weights(), larger.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_other_sizes_are_refused_where_the_weights_are_for_one():
    with pytest.raises(ValueError, match=r"image_shape=\(32, 32, 3\)"):
        ViTReconstructor(**TINY).for_image_shape((32, 32, 3))
    with pytest.raises(ValueError, match=r"3 channels of the weights. Received: image_shape=\(64, 64, 1\)"):
        LinearReconstructor().for_image_shape((64, 64, 1))
