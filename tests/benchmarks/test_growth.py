import growth
import pytest

# What has to be found behind a title: the model, and what of it is 16 where a title's size is.
RAN = {
    "vit, image side": ("ViTReconstructor", lambda model: model.image_shape[:2], (16, 16)),
    "autoencoder, image side": ("ConvAutoencoder", lambda model: model.image_shape[:2], (16, 16)),
    "vit, layers": ("ViTReconstructor", lambda model: len(model.encoder.blocks), 16),
    "vit, latent values of a patch": ("ViTReconstructor", lambda model: model.latent_shape, (8, 8, 16)),
}


@pytest.mark.parametrize("title", growth.GROWING)
def test_a_title_grows_what_it_names(title):
    name, quantity, expected = RAN[title]
    model = growth.GROWING[title].network(16)
    assert (type(model).__name__, quantity(model)) == (name, expected)
    assert growth.GROWING[title].cost(model) > growth.GROWING[title].cost(growth.GROWING[title].network(8)) > 0


@pytest.mark.slow
def test_what_is_measured_is_what_the_title_names():
    measured = growth.measure("vit, latent values of a patch", 3)
    assert measured["ran"] == {"model": "ViTReconstructor", "latent_dim": 3}
    assert all(value > 0 for value in measured["row"].values())


def test_the_exponent_is_that_of_a_power_behind_a_constant():
    sizes = [64, 128, 256, 512]
    assert growth.exponent(sizes, [3.0 * size**2 for size in sizes]) == pytest.approx(2)
    assert growth.exponent(sizes, [size**2 + 10 for size in sizes]) == pytest.approx(2, abs=0.01)
