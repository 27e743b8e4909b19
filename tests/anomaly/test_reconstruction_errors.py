import numpy as np
import pytest

from keras_recon import anomaly


def test_the_error_map_is_the_smoothed_squared_error():
    image = np.zeros((21, 21, 3), "float32")
    reconstruction = image.copy()
    reconstruction[10, 10] = (0.3, 0.0, 0.6)
    errors = anomaly.error_map(image, reconstruction, sigma=2.0)
    assert errors.shape == (21, 21)
    assert errors.sum() == pytest.approx((0.3**2 + 0.6**2) / 3, rel=1e-3)  # smoothing keeps the sum
    assert errors[10, 10] / errors[10, 12] == pytest.approx(np.exp(2**2 / (2 * 2.0**2)), rel=1e-3)
    assert anomaly.image_score(errors) == pytest.approx(errors[10, 10])
