import pytest
from compression.tiny_codecs import tiny_codec


@pytest.fixture(scope="module")
def codec():
    """Of steps so small at the best quality that no rounding of a latent matters to a pixel."""
    return tiny_codec(distortion_weights=(0.01, 40.0))
