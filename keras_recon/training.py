import csv
import math
import sys
from pathlib import Path

import keras
from keras import ops

from keras_recon import data, losses, metrics
from keras_recon.callbacks import GradualUnfreezing, RunSummary, SwapEMAWeights, Throughput
from keras_recon.degradations import Degradation
from keras_recon.distribution import ALONE, Distribution
from keras_recon.files import replacing
from keras_recon.models import Reconstructor
from keras_recon.models.finetuning import parse_strategy
from keras_recon.optimizers import LayerwiseAdamW, without_loss_scaling
from keras_recon.resumption import check_unchanged
from keras_recon.safeguards import Diverged, EndOnSignal, HaltOnDivergence, TrainingBackup

XLA_MIN_STEPS = 300  # it begins 10 s later and takes a fifth less time a step
LEAST_ADAPT_CROPS = 1000  # of 64x64 pixels, a quarter of them cost 0.06 dB
LEAST_RATE_SCALE = 1 / 16  # lower than this, the learning rate is not what is wrong


def compile_model(
    model: Reconstructor,
    *,
    loss: str,
    total_steps: int,
    learning_rate: float,
    warmup_steps: int,
    weight_decay: float = 0.0,
    ema_momentum: float = 0.0,
    backbone_scale: float = 1.0,
    replicas: int = 1,
):
    """Compile with AdamW ("Decoupled Weight Decay Regularization", Loshchilov and Hutter, 2019), PSNR and SSIM.

    The learning rate rises linearly over `warmup_steps` and falls by a cosine to zero at `total_steps`; a pretrained
    backbone's is `backbone_scale` times as high. Only the kernels of the new layers decay. With `ema_momentum` above 0
    the optimizer keeps a moving average of the weights. `replicas` is the number of devices: on one, TensorFlow
    compiles long runs of transformers in float32 by XLA.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"`warmup_steps` must be from 0 to below the {total_steps} steps of the run. "
            f"Received: warmup_steps={warmup_steps}"
        )
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else learning_rate,
        total_steps - warmup_steps,
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    depths = model.variable_depths()
    strategy, number = parse_strategy(model.strategy)
    optimizer = LayerwiseAdamW(
        schedule,
        depths=depths,
        scale=backbone_scale,
        decay=number if strategy == "llrd" else 1.0,
        weight_decay=weight_decay,
        # Near 30 dB, gradients of a mean over pixels are not far above Keras's default of 1e-7, which then slows the
        # steps: 0.3 dB less after 600 steps.
        epsilon=1e-10,
        use_ema=ema_momentum > 0,
        ema_momentum=ema_momentum,
    )
    undecayed = [v for v in model.trainable_variables if v.name != "kernel" or v.path in depths]
    optimizer.exclude_from_weight_decay(undecayed)
    # Left to the first step, TensorFlow would trace that step twice: half a minute instead of a quarter.
    optimizer.build(model.trainable_variables)
    scores = [metrics.PSNR(), metrics.SSIM()] if "ssim" in metrics.applicable(model.image_shape) else [metrics.PSNR()]
    # On its own, Keras does not compile by XLA where TensorFlow has only a CPU.
    jit_compile = "auto"
    if keras.backend.backend() == "tensorflow" and replicas > 1:
        jit_compile = False  # XLA has no sum of gradients over TensorFlow's devices
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True  # or each device normalises by its own images
    elif (
        keras.backend.backend() == "tensorflow"
        and total_steps >= XLA_MIN_STEPS
        and model.compute_dtype == "float32"  # a CPU's bfloat16 products, and its convolutions, are faster without
        and not model.fully_convolutional
    ):
        jit_compile = True
    model.compile(optimizer, losses.from_string(loss), metrics=scores, jit_compile=jit_compile)


def train(
    model: Reconstructor,
    training: data.Photos,
    validation: data.Photos,
    *,
    run_dir: Path,
    log_dir: Path,
    batch_size: int,
    epochs: int,
    steps_per_epoch: int,
    seed: int,
    config: dict,
    degradation: Degradation | None = None,
    ema_momentum: float = 0.0,
    on_divergence: str = "stop",
    distribution: Distribution = ALONE,
    learning_rate: float,
    base_batch_size: int | None = None,
    **compile_options,
):
    """Train to the weights with the best validation PSNR, from the start or from where a killed run stopped.

    The linear path is fitted first. What a later call needs to go on stands in `run_dir / "training"`, the curves in
    `run_dir / "log.csv"` and, for TensorBoard, in `log_dir`.

    Args:
        model: freshly built; it has the best weights afterwards.
        training, validation: the photos.
        run_dir, log_dir: folders.
        batch_size, epochs, steps_per_epoch: the length of the run.
        seed: of the crops and their degradation.
        config: settings to show in TensorBoard.
        degradation: what the model learns to undo; None for reconstruction.
        on_divergence: `"stop"`, or `"rollback"`: to go back an epoch or two and on at half the learning rate, up to
            four times.
        distribution: the devices; the model was built, and this is called, in its scope.
        learning_rate: its peak, for batches of `base_batch_size` if that is given: for others it is multiplied by the
            square root of the ratio, the rule for Adam of "On the SDEs and Scaling Rules for Adaptive Gradient
            Algorithms" (Malladi et al., 2022).
        ema_momentum, **compile_options: see `compile_model`.

    Raises:
        Diverged: the loss is no number or has risen a hundredfold; the best weights so far stand in
            `run_dir / "training"`.
        Interrupted: SIGTERM or SIGINT came; the steps so far are backed up.
        ValueError: an option is wrong, or the run began with another model or other photos.
    """
    if degradation and model.mask_ratio:  # what is visible is pasted into its output, and would be degraded there
        raise ValueError(f"A masked model must have no degradation. Received: degradation={degradation}")
    if on_divergence not in ("stop", "rollback"):
        raise ValueError(f"`on_divergence` must be 'stop' or 'rollback'. Received: on_divergence={on_divergence!r}")
    total_steps = epochs * steps_per_epoch
    compile_model(
        model,
        total_steps=total_steps,
        learning_rate=learning_rate * math.sqrt(batch_size / (base_batch_size or batch_size)),
        ema_momentum=ema_momentum,
        replicas=distribution.share.all_replicas,
        **compile_options,
    )
    state = run_dir / "training"
    state.mkdir(parents=True, exist_ok=True)
    check_unchanged(state / "began.json", model, training, validation)
    backup = TrainingBackup(state, steps_per_epoch)
    restored = backup.restore(model)
    crops = (training, model.image_shape, batch_size, steps_per_epoch)
    if model.linear_path and not restored:  # by the first crops of the training, and more where it is short
        steps = max(steps_per_epoch, -(-LEAST_ADAPT_CROPS // batch_size))
        options = {"epochs": 1, "seed": seed, "degradation": degradation}
        model.adapt(data.training_batches(*crops[:3], steps, **options))
    strategy, number = parse_strategy(model.strategy)
    validation_batches = data.validation_batches(validation, model.image_shape, batch_size, degradation=degradation)
    degraded, clean = data.spread(validation_batches, 6)

    def training_batches(share):
        options = {"epochs": epochs, "seed": seed, "first_step": backup.steps, "degradation": degradation}
        return data.training_batches(*crops, **options, share=share)

    def validation_share(share):
        return data.share_of(validation_batches, batch_size, share)

    best, log = state / "best.weights.h5", run_dir / "log.csv"
    signals = EndOnSignal(backup)
    callbacks = [
        *distribution.connect(model),
        Throughput(batch_size),  # adds to the logs that the callbacks below write
        *([GradualUnfreezing(int(number), max(model.feature_layers))] if strategy == "gradual" else []),
        *([SwapEMAWeights()] if ema_momentum else []),  # before the callbacks that draw and save
        keras.callbacks.TensorBoard(log_dir, write_graph=False),
        RunSummary(log_dir, config, (model.visible_part(degraded), clean)),
        keras.callbacks.ModelCheckpoint(
            best,
            monitor="val_psnr",
            mode="max",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=_resume_log(log, backup.steps // steps_per_epoch),
        ),
        keras.callbacks.CSVLogger(log, append=True),
        backup,  # an epoch is finished when every callback above has seen its end
        HaltOnDivergence(backup, lambda step: data.photos_of_step(*crops, seed, step - 1)),
        signals,  # last: what diverged is not backed up
    ]
    unfinished = backup.steps < total_steps
    while backup.steps < total_steps:  # once, unless it begins inside an epoch or rolls back
        epoch, done = divmod(backup.steps, steps_per_epoch)
        try:
            with signals:
                model.fit(
                    distribution.distribute(training_batches),
                    validation_data=distribution.distribute(validation_share),
                    epochs=epoch + 1 if done else epochs,
                    steps_per_epoch=steps_per_epoch - done,
                    initial_epoch=epoch,
                    shuffle=False,  # the data set is in its order already
                    callbacks=callbacks,
                )
        except Diverged as error:
            if on_divergence == "stop" or not _roll_back(model, backup):
                raise
            _resume_log(log, backup.steps // steps_per_epoch)
            print(f"\n{error}: back to step {backup.steps}, at half the learning rate", file=sys.stderr)
    if unfinished:
        backup.save()
    model.load_weights(best)


def _roll_back(model: Reconstructor, backup: TrainingBackup) -> bool:
    """Restore the older backup and halve the learning rate from there on; False if it has been halved enough."""
    optimizer = without_loss_scaling(model.optimizer)
    scale = float(ops.convert_to_numpy(optimizer.rate_scale)) / 2
    if scale < LEAST_RATE_SCALE:
        return False
    backup.restore(model, oldest=True)
    optimizer.rate_scale.assign(scale)
    backup.save()  # for a run that is killed from here on
    return True


def _resume_log(path: Path, epochs: int) -> float | None:
    """Cut the log to the epochs that a resumed run has behind it; the best validation PSNR among them."""
    if not epochs:
        path.unlink(missing_ok=True)
        return None
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)[:epochs]  # one an epoch
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, reader.fieldnames)
        writer.writeheader()
        writer.writerows(rows)
    return max(float(row["val_psnr"]) for row in rows)
