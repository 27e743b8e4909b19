import time

import keras
import numpy as np
from keras import ops

from keras_recon import losses, metrics
from keras_recon.inference import faster_by_xla
from keras_recon.models import Reconstructor
from keras_recon.models.layer_state import layers_by_path
from keras_recon.optimizers import LayerwiseAdamW
from keras_recon.training.adversarial import AdversarialTraining
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


XLA_MIN_STEPS = 300  # it begins 10 s later and takes a fifth less time a step


def compile_model(trained: Reconstructor | AdversarialTraining, options: TrainingOptions, replicas: int = 1):
    """Compile with AdamW ("Decoupled Weight Decay Regularization", Loshchilov and Hutter, 2019), PSNR and SSIM.

    The learning rate rises linearly over the warm-up and falls by a cosine to zero at the last step; a pretrained
    backbone's is `options.backbone_scale` times as high. Only the kernels of the new layers decay. With an
    `ema_momentum` above 0 the optimizer keeps a moving average of the weights. On one device (`replicas`), TensorFlow
    compiles long runs of transformers in float32 by XLA.
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
        # Near 30 dB, gradients of a mean over pixels are not far above Keras's default of 1e-7, which then slows the
        # steps: 0.3 dB less after 600 steps.
        epsilon=1e-10,
        use_ema=options.ema_momentum > 0,
        ema_momentum=options.ema_momentum,
    )
    undecayed = [v for v in trained.trainable_variables if v.name != "kernel" or v.path in depths]
    optimizer.exclude_from_weight_decay(undecayed)
    # Left to the first step, TensorFlow would trace that step twice: half a minute instead of a quarter.
    optimizer.build(trained.trainable_variables)
    scores = [metrics.PSNR(), metrics.SSIM()] if "ssim" in metrics.applicable(model.image_shape) else [metrics.PSNR()]
    # On its own, Keras does not compile by XLA where TensorFlow has only a CPU.
    jit_compile = "auto"
    if keras.backend.backend() == "tensorflow" and replicas > 1:
        jit_compile = False  # XLA has no sum of gradients over TensorFlow's devices
        for layer in layers_by_path(model).values():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True  # or each device normalises by its own images
    elif options.total_steps >= XLA_MIN_STEPS and faster_by_xla(model):
        jit_compile = True
    trained.compile(optimizer, losses.from_string(options.loss), metrics=scores, jit_compile=jit_compile)
