import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of two test processes on two cores, the threads wait for each other

import keras
import pytest


@pytest.fixture(autouse=True)
def _seed():
    """Every test draws the same numbers, alone or after others, and leaves the default dtype policy."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
