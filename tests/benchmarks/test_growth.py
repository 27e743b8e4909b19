import growth
import pytest


def test_the_exponent_is_that_of_a_power_behind_a_constant():
    sizes = [64, 128, 256, 512]
    assert growth.exponent(sizes, [3.0 * size**2 for size in sizes]) == pytest.approx(2)
    assert growth.exponent(sizes, [size**2 + 10 for size in sizes]) == pytest.approx(2, abs=0.01)
