import time

import numpy as np
from keras import ops

from keras_recon.models import Reconstructor
from keras_recon.training.options import TrainingOptions

BACKWARD = 2.0  # operations of a backward pass for each of the forward pass
START = 20.0  # seconds: tracing, compilation, fitting of the linear path, and what a run writes in the end
VALIDATION_CROPS = 512


def estimate_seconds(model: Reconstructor, options: TrainingOptions) -> float:
    """About how many seconds a training will take, by timing the model on a batch; the photos are not counted."""
    images = ops.convert_to_tensor(np.full((options.batch_size, *model.image_shape), 0.5, "float32"))
    for _ in range(2):  # the first call may compile
        start = time.perf_counter()
        ops.convert_to_numpy(model(images, training=False))
        forward = time.perf_counter() - start
    validation = forward * VALIDATION_CROPS / options.batch_size
    steps = forward * (1 + BACKWARD) * options.steps_per_epoch
    return START + options.epochs * (steps + validation)
