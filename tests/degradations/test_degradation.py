import numpy as np
import pytest

from keras_recon import degradations

TEXTS = [
    "noise:25",
    "poisson:30",
    "mask:0.5",
    "block:0.5",
    "strokes:0.2",
    "blur:1",
    "motion:5",
    "downsample:2",
    "jpeg:10",
]


@pytest.mark.parametrize("text", [*TEXTS, "gray", "blur:1+noise:5"])
def test_every_float_becomes_float32_and_nothing_else_is_taken(text):
    degradation = degradations.from_string(text)
    image = np.random.default_rng(0).random((32, 24, 3))
    outputs = [degradation(image.astype(dtype), np.random.default_rng(1)) for dtype in ("float32", "float64")]
    assert outputs[0].dtype == outputs[1].dtype == np.float32 and outputs[0].shape == image.shape
    np.testing.assert_array_equal(*outputs)
    for wrong in ((255 * image).astype("uint8"), image[..., 0]):
        with pytest.raises(ValueError, match=f"must be float .* Received: {wrong.dtype} of shape"):
            degradation(wrong, np.random.default_rng(1))
