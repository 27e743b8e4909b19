import pytest
from contracts import check_layer, outputs_of, random_images

from keras_recon.layers import PatchDiscriminator


@pytest.mark.parametrize("shape, logits", [((2, 32, 48, 3), (2, 8, 12, 1)), ((3, 17, 16, 1), (3, 5, 4, 1))])
def test_contract(shape, logits):
    check_layer(PatchDiscriminator, {"filters": (8, 16)}, random_images(*shape), logits)
    layer = PatchDiscriminator((8, 16))
    assert tuple(layer.compute_output_shape((None, *shape[1:]))) == (None, *logits[1:])


def test_a_logit_is_of_a_part_of_its_image_alone():
    images = random_images(2, 64, 64, 3)
    layer = PatchDiscriminator((8, 16))
    before = outputs_of(layer, images)
    images[1] = 0
    assert (outputs_of(layer, images)[0] == before[0]).all()


def test_no_level_is_refused():
    with pytest.raises(ValueError, match=r"`filters` must be .* Received: filters=\(\)"):
        PatchDiscriminator(())
