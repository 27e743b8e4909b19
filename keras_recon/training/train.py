"""A run goes on as what it began as, or not at all."""

import dataclasses
import json
import sys
from pathlib import Path

import keras
from keras import ops

from keras_recon import data, degradations
from keras_recon.callbacks import (
    Diverged,
    EndOnSignal,
    HaltOnDivergence,
    ProgressBar,
    RunSummary,
    SwapEMAWeights,
    Throughput,
    TrainingBackup,
)
from keras_recon.data import Photos
from keras_recon.data.crops import DRAWS
from keras_recon.models import Reconstructor
from keras_recon.models.image_model import check_size
from keras_recon.optimizers import without_loss_scaling
from keras_recon.training.adversarial import AdversarialTraining
from keras_recon.training.compile import compile_model
from keras_recon.training.distribution import ALONE, Distribution
from keras_recon.training.options import TrainingOptions
from keras_recon.utils.files import to_json, write_json
from keras_recon.utils.run import Run


def check_unchanged(path: Path, model: Reconstructor, training: Photos, validation: Photos):
    """Write down what a run begins with; refuse to go on with another model or other photos.

    Args:
        path: of the JSON file, written if it is not there.
        model, training, validation: of the run.
    """
    facts = {"version of the random draws": DRAWS}
    facts |= _flat("model", keras.saving.serialize_keras_object(model)["config"])
    for part, photos in (("training", training), ("validation", validation)):
        facts |= {f"number of {part} photos": len(photos), f"hash of the {part} photos' names": photos.fingerprint}
    facts = json.loads(to_json(facts))  # tuples become lists
    if not path.exists():
        write_json(path, facts)
        return
    began = {"version of the random draws": 1} | json.loads(path.read_text())
    for name in began | facts:
        if began.get(name) != facts.get(name):
            hint = " (another version may divide photos otherwise)" if "photos" in name else ""
            hint = " (the version of keras_recon that began it can finish it)" if "draws" in name else hint
            raise ValueError(
                f"A run must go on with what it began with{hint}, {name}={began.get(name)!r}. "
                f"Received: {facts.get(name)!r}"
            )


def _flat(name: str, value) -> dict:
    """A nested configuration as one level, without the names of layers, which count the layers made before."""
    if not isinstance(value, dict):
        return {name: value}
    items = [_flat(f"{name}.{key}", item) for key, item in value.items() if key not in ("name", "registered_name")]
    return {key: item for part in items for key, item in part.items()}


LEAST_FITTING_CROPS = 1000  # of 64x64 pixels, a quarter of them cost 0.06 dB
LEAST_RATE_SCALE = 1 / 16  # lower than this, the learning rate is not what is wrong


def train(
    model: Reconstructor,
    training: data.Photos,
    validation: data.Photos,
    run: Run | str,
    options: TrainingOptions | None = None,
    distribution: Distribution = ALONE,
):
    """Train to the weights with the best validation PSNR, from the start or from where a killed run stopped.

    With a perceptual or an adversarial loss, which take PSNR for what looks right, the last weights are kept.

    The linear path is fitted first. What a later call needs to go on stands in `run.training`, the curves in `run.log`
    and, for TensorBoard, in `run.log_dir`. The data pipeline and TensorBoard need TensorFlow.

    Args:
        model: freshly built, or trained before, without `options.fit_linear_path`; it has the best weights afterwards.
        training, validation: the photos, or pairs of photos.
        run: the run's folder.
        options: the defaults of `TrainingOptions` if None.
        distribution: the devices; the model was built, and this is called, in its scope.

    Raises:
        Diverged: the loss is NaN or has risen a hundredfold; the best weights so far are `run.best_weights`.
        Interrupted: SIGTERM or SIGINT came; the steps so far are backed up.
        ValueError: an option is wrong, or the run began with another model or other photos.

    Example:

    >>> images = np.random.rand(12, 32, 48, 3)
    >>> training, validation = keras_recon.data.load_photos((images[:10], images[10:]))
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> options = keras_recon.TrainingOptions(batch_size=4, epochs=2, steps_per_epoch=3)
    >>> keras_recon.train(model, training, validation, "saved_models/vit", options)
    Epoch 1/2
    ...
    >>> len(Run("saved_models/vit").epochs())
    2
    """
    options = options or TrainingOptions()
    run = run if isinstance(run, Run) else Run(run)
    degradation = degradations.get(options.degradation)
    training, validation = (photos.for_upscale(model.upscale) for photos in (training, validation))
    if model.is_masked and (degradation or training.is_paired):
        # What is visible is pasted into its output, and would be degraded there.
        received = f"degradation={degradation}" if degradation else "pairs of photos"
        raise ValueError(f"A masked model must have no degradation. Received: {received}")
    check_size(model)
    if options.adversarial and keras.backend.backend() == "torch" and distribution.shard.all_replicas > 1:
        raise ValueError(
            "`adversarial` must be 0 in several processes of torch, which would not share their discriminator. "
            f"Received: adversarial={options.adversarial}"
        )
    trained = AdversarialTraining(model, options.adversarial) if options.adversarial else model
    compile_model(trained, options, distribution.shard.all_replicas)
    if not run.is_begun:
        run.begin({**dataclasses.asdict(options), "degradation": degradation and str(degradation)})
    run.training.mkdir(parents=True, exist_ok=True)
    check_unchanged(run.began, model, training, validation)
    backup = TrainingBackup(run.training, options.steps_per_epoch)
    restored = backup.restore(trained)
    if model.linear_path and options.fit_linear_path and not restored:
        model.adapt(fitting_batches(training, model.image_shape, options))
    crops = (training, model.image_shape, options.batch_size, options.steps_per_epoch)
    validation_batches = data.validation_batches(
        validation, model.image_shape, options.batch_size, degradation=degradation
    )

    def training_batches(shard):
        return data.training_batches(
            *crops,
            epochs=options.epochs,
            seed=options.seed,
            first_step=backup.steps,
            degradation=degradation,
            shard=shard,
            quarter_turns=options.quarter_turns,
        )

    def validation_shard(shard):
        return data.shard_of(validation_batches, options.batch_size, shard)

    def photos_of_step(step):
        return data.photos_of_step(*crops, options.seed, step - 1)

    run.cut_log(backup.steps // options.steps_per_epoch)
    signals = EndOnSignal(backup)
    callbacks = [
        *distribution.connect(trained),
        *_logging(model, run, options, validation_batches),
        backup,  # an epoch is finished when every callback above has seen its end
        HaltOnDivergence(backup, photos_of_step),
        signals,  # last: what diverged is not backed up
    ]
    unfinished = backup.steps < options.total_steps
    while backup.steps < options.total_steps:  # once, unless it begins inside an epoch or rolls back
        epoch, done = divmod(backup.steps, options.steps_per_epoch)
        try:
            with signals:
                trained.fit(
                    distribution.distribute(training_batches),
                    validation_data=distribution.distribute(validation_shard),
                    epochs=epoch + 1 if done else options.epochs,
                    steps_per_epoch=options.steps_per_epoch - done,
                    initial_epoch=epoch,
                    shuffle=False,  # the data set is in its order already
                    callbacks=callbacks,
                )
        except Diverged as error:
            if options.on_divergence == "stop" or not _roll_back(trained, backup):
                raise
            run.cut_log(backup.steps // options.steps_per_epoch)
            print(f"\n{error}: back to step {backup.steps}, at half the learning rate", file=sys.stderr)
    if unfinished:
        backup.save()
    model.load_weights(run.best_weights)


def fitting_batches(training: data.Photos, image_shape: tuple[int, int, int], options: TrainingOptions):
    """The batches that a linear map is fitted to: the first of the training, and more where it is short.

    The linear path of a model and the baseline PCA are fitted to the same.
    """
    steps = max(options.steps_per_epoch, -(-LEAST_FITTING_CROPS // options.batch_size))
    degradation = degradations.get(options.degradation)
    crops = (training, image_shape, options.batch_size, steps)
    return data.training_batches(*crops, epochs=1, seed=options.seed, degradation=degradation)


class ModelWeights(keras.callbacks.ModelCheckpoint):
    """A `ModelCheckpoint` that saves a model without the discriminator that it is trained against."""

    def set_model(self, model):
        super().set_model(model.model if isinstance(model, AdversarialTraining) else model)


def _logging(model: Reconstructor, run: Run, options: TrainingOptions, validation_batches) -> list:
    """The callbacks that say and keep how the training goes; the first add to the logs that the others write."""
    epochs = run.epochs() if run.log.exists() else []
    degraded, clean = data.spread(validation_batches, 6)
    return [
        Throughput(options.batch_size),
        *([SwapEMAWeights()] if options.ema_momentum else []),  # before the callbacks that draw and save
        ProgressBar(),
        RunSummary(
            run.log_dir,
            run.name,
            {**run.config, "architecture": type(model).__name__},
            (model.visible_part(degraded), clean),
        ),
        ModelWeights(
            run.best_weights,
            monitor="val_psnr",
            mode="max",
            save_best_only=options.selects_weights,
            save_weights_only=True,
            initial_value_threshold=max((epoch["val_psnr"] for epoch in epochs), default=None),
        ),
        keras.callbacks.CSVLogger(run.log, append=True),
    ]


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
