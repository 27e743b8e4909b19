"""Compilation of a model for a run, and an estimate of the time that the run takes."""

import time

import keras
import numpy as np
from keras import ops

from keras_recon import metrics
from keras_recon.inference import faster_by_xla
from keras_recon.models import ImageModel
from keras_recon.models.layer_state import layers_by_path
from keras_recon.optimizers import LayerwiseAdamW
from keras_recon.training.adversarial import AdversarialTraining
from keras_recon.training.options import TrainingOptions

BACKWARD = 2.0  # operations of a backward pass per operation of the forward pass
START = 20.0  # seconds of a run for tracing, compilation, fitting the linear path, and writing the results
VALIDATION_CROPS = 512
XLA_MIN_STEPS = 300  # XLA starts 10 s later and saves a fifth of each step


def estimate_seconds(model: ImageModel, options: TrainingOptions) -> float:
    """Estimate the seconds that a training takes by timing the model on one batch, without the time to read photos."""
    images = ops.convert_to_tensor(np.full((options.batch_size, *model.image_shape), 0.5, "float32"))
    for _ in range(2):  # the first call may compile
        start = time.perf_counter()
        ops.convert_to_numpy(model(images, training=False))
        forward = time.perf_counter() - start
    steps = options.steps_per_epoch * (1 + BACKWARD) + VALIDATION_CROPS / options.batch_size
    return START + options.epochs * steps * forward


def compile_model(trained: ImageModel | AdversarialTraining, options: TrainingOptions, replicas: int = 1):
    """Compile with AdamW ("Decoupled Weight Decay Regularization", Loshchilov and Hutter, 2019), PSNR and SSIM.

    The learning rate rises linearly over the warm-up and falls to zero along a cosine. Only kernels of new layers have
    weight decay. On one device, TensorFlow compiles long runs of transformers in float32 with XLA.

    Args:
        trained: the model, or the wrapper that trains it.
        options: the options of the run.
        replicas: number of devices.
    """
    model = trained.model if isinstance(trained, AdversarialTraining) else trained
    warmup_steps, peak = options.used_warmup_steps, options.peak_learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else peak,
        options.total_steps - warmup_steps,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    depths = model.variable_depths()
    optimizer = LayerwiseAdamW(
        schedule,
        depths=depths,
        scale=options.backbone_scale,
        weight_decay=options.weight_decay,
        # Near 30 dB, gradients of a mean over pixels are not far above Keras's default of 1e-7, which then shortens the
        # steps: 0.3 dB less after 600 steps.
        epsilon=1e-10,
        use_ema=options.ema_momentum > 0,
        ema_momentum=options.ema_momentum,
    )
    undecayed = [v for v in trained.trainable_variables if v.name != "kernel" or v.path in depths]
    optimizer.exclude_from_weight_decay(undecayed)
    # TensorFlow would trace a step twice if the first one built the optimizer: 30 s instead of 15.
    optimizer.build(trained.trainable_variables)
    scores = [metrics.PSNR(), metrics.SSIM()] if "ssim" in metrics.applicable(model.image_shape) else [metrics.PSNR()]
    jit_compile = "auto"  # without XLA for TensorFlow on a CPU
    if keras.backend.backend() == "tensorflow" and replicas > 1:
        jit_compile = False  # XLA cannot sum gradients over TensorFlow's devices
        for layer in layers_by_path(model).values():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True  # over the images of all devices
    elif options.total_steps >= XLA_MIN_STEPS and faster_by_xla(model):
        jit_compile = True
    trained.compile(optimizer, options.loss, metrics=scores, jit_compile=jit_compile)
