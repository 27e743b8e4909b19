import subprocess
import sys

import keras
import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY

from keras_recon.export import export_savedmodel, save_model
from keras_recon.models import ViTReconstructor

IMAGES = random_images(3, 16, 16, 3)
SERVE = """
import sys
sys.modules["keras_recon"] = sys.modules["keras"] = None  # neither is there where it is served
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], np.concatenate([served.serve(batch) for batch in np.split(np.load(sys.argv[2]), [1])]))
"""


@pytest.fixture
def model():
    model = ViTReconstructor(**TINY)
    model.adapt(random_images(20, 16, 16, 3))
    model.compile("adam", "mse")
    model.fit(IMAGES, IMAGES, verbose=0)
    return model


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="SavedModel export needs TensorFlow or JAX")
def test_savedmodel_serves_the_same_without_keras(tmp_path, model):
    pytest.importorskip("tensorflow")
    export_savedmodel(model, tmp_path / "savedmodel")
    np.save(tmp_path / "images.npy", IMAGES)
    arguments = [tmp_path / name for name in ("savedmodel", "images.npy", "outputs.npy")]
    subprocess.run([sys.executable, "-c", SERVE, *arguments], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), model.predict(IMAGES, verbose=0), atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images.npy", "outputs.npy", "savedmodel"]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the other backends can export")
def test_torch_says_how_to_export(tmp_path, model):
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow"):
        export_savedmodel(model, tmp_path / "savedmodel")


def test_the_saved_model_is_the_model_without_its_optimizer(tmp_path, model):
    save_model(model, tmp_path / "model.keras")
    model.save(tmp_path / "with_optimizer.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6)
    assert (tmp_path / "model.keras").stat().st_size < 0.7 * (tmp_path / "with_optimizer.keras").stat().st_size
