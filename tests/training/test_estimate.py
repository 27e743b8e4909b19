import time

from contracts import random_images
from models.test_vit import TINY

from keras_recon.models import ViTReconstructor
from keras_recon.training import compile as estimate
from keras_recon.training.options import TrainingOptions


def test_the_estimate_grows_with_the_steps_and_the_time_of_one():
    model = ViTReconstructor(**TINY)
    short, long = (
        estimate.estimate_seconds(model, TrainingOptions(epochs=1, steps_per_epoch=n)) - estimate.START
        for n in (100, 2000)
    )
    images = random_images(32, *model.image_shape)
    start = time.perf_counter()
    model(images, training=False)
    forward = time.perf_counter() - start
    assert 0 < short < long
    # Within a factor of ten of three forward passes a step: other work on the machine may slow either.
    assert 0.1 < (long - short) / (3 * forward * 1900) < 10
