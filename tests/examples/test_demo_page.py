"""The page of the demo, called without a server."""

import demo
import numpy as np
import pytest
import skimage.data
from examples.demo_client import tiny_model
from PIL import Image

from keras_recon.presets import PRESETS

gradio = pytest.importorskip("gradio", reason="in the extra `demo`")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_a_photo_that_takes_too_long_is_given_up(tmp_path, model):
    model.save(tmp_path / "model.keras")
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "photo.png")
    page = demo.build({"tiny": tmp_path / "model.keras"}, max_megapixels=1, max_seconds=1e-6)
    (function,) = (f.fn for f in page.fns.values() if f.api_name == "reconstruct")
    with pytest.raises(gradio.Error, match="takes more than 1e-06 seconds"):
        function({"path": str(tmp_path / "photo.png")}, "tiny", "")


def test_it_opens_with_a_preset_and_a_photo_and_has_the_runs_too(tmp_path, model):
    (tmp_path / "mine").mkdir()
    model.save(tmp_path / "mine" / "model.keras")
    models = demo.find_models(tmp_path)
    assert [*models] == [*PRESETS, "mine"]
    page = demo.build(models, max_megapixels=1, max_seconds=60)
    functions = {f.targets[0][1]: f.fn for f in page.fns.values()}
    photo, (given, restored), errors, figures = functions["load"]()
    assert photo.shape == given.shape == restored.shape == errors.shape
    noise, left = (np.abs(image.astype(int) - photo).mean() for image in (given, restored))
    assert noise > 10 and left < noise / 2 and "latent" not in figures
    _, degradation = functions["change"]("deblock")
    assert degradation == "jpeg:10"
    Image.fromarray(photo[:60, :90]).save(tmp_path / "photo.png")
    (small, large), errors, figures = functions["click"]({"path": str(tmp_path / "photo.png")}, "upscale2", "")
    assert small.shape == large.shape == (120, 180, 3) and errors is None and "180x120" in figures
