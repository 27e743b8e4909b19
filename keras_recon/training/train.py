"""Training of a run: it continues bit for bit if its process is killed, and ends with the best weights."""

import json
import shutil
import sys
from collections.abc import Sequence
from functools import partial
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
from keras_recon.data.crops import DRAWS
from keras_recon.models import ImageModel
from keras_recon.models.image_model import check_size
from keras_recon.models.layer_state import current_paths
from keras_recon.optimizers import without_loss_scaling
from keras_recon.training.adversarial import AdversarialTraining
from keras_recon.training.compile import compile_model
from keras_recon.training.distribution import ALONE, Distribution
from keras_recon.training.finish import finish_run, fitting_batches
from keras_recon.training.options import TrainingOptions
from keras_recon.utils.files import to_json, write_json
from keras_recon.utils.run import Run

LEAST_RATE_SCALE = 1 / 16  # at lower learning rates, the learning rate is not the cause of the divergence


def train(
    model: ImageModel,
    training: data.Photos,
    validation: data.Photos,
    run: Run | str | Path,
    options: TrainingOptions | None = None,
    distribution: Distribution = ALONE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    finish: bool = True,
) -> dict[str, dict] | None:
    """Train a model, from the start or from where an interrupted run stopped, and write the results to a folder.

    The linear path is fitted first. The model ends with the weights of the best validation PSNR, or with the last
    weights after an adversarial training or one with a perceptual loss. The data pipeline and TensorBoard need
    TensorFlow.

    Args:
        model: a new model, or a trained one together with `options.fit_linear_path=False`.
        training: photos, or pairs of photos, to train on.
        validation: photos, or pairs of photos, to validate on.
        run: the folder of the run. Logs are in `run.log` and, for TensorBoard, in `run.log_dir`.
        options: the defaults of `TrainingOptions` if None.
        distribution: the devices. The model must have been built in its scope, and this function must be called in it.
        callbacks: callbacks for `fit`, called after those of this function that write logs and save weights.
        finish: whether to also write the model, its scores and pictures, see `keras_recon.finish_run`. A run on
            several devices is not finished.

    Returns:
        The scores that `keras_recon.finish_run` returns; None if it was not called.

    Raises:
        Diverged: the loss is NaN or has risen a hundredfold. The best weights so far are in `run.best_weights`.
        Interrupted: SIGTERM or SIGINT ended the training. Call this function again to continue it.
        ValueError: an option is wrong, the run is finished, or it was started with another model or other photos.

    Example:
    >>> images = np.random.rand(12, 32, 48, 3)
    >>> training, validation = keras_recon.data.load_photos((images[:10], images[10:]))
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> options = keras_recon.TrainingOptions(batch_size=4, epochs=2, steps_per_epoch=3)
    >>> results = keras_recon.train(model, training, validation, "saved_models/vit", options)
    Epoch 1/2
    ...
    >>> sorted(results)
    ['mean', 'model', 'pca']
    >>> len(Run("saved_models/vit").epochs())
    2
    """
    options = options or TrainingOptions()
    run = run if isinstance(run, Run) else Run(run)
    degradation = degradations.get(options.degradation)
    training, validation = photos = [photos.for_upscale(model.upscale) for photos in (training, validation)]
    if run.is_finished:
        raise ValueError(f"`run` must be a new or an unfinished run. Received: run={str(run.folder)!r}")
    if model.is_masked and (degradation or training.is_paired):
        # The visible patches of the input are part of the output and would be degraded there.
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
        height, width, channels = model.image_shape
        run.begin({**options.as_json(), "image_size": f"{height}x{width}", "channels": channels})
    check_unchanged(run.began, model, *photos)
    backup = TrainingBackup(run.training, options.steps_per_epoch)
    if not backup.restore(trained) and model.linear_path and options.fit_linear_path:
        model.adapt(fitting_batches(training, model.image_shape, options))
    crops = (training, model.image_shape, options.batch_size, options.steps_per_epoch)
    batches = partial(
        data.training_batches,
        *crops,
        epochs=options.epochs,
        seed=options.seed,
        degradation=degradation,
        quarter_turns=options.quarter_turns,
    )
    validation_batches = data.validation_batches(
        validation, model.image_shape, options.batch_size, degradation=degradation
    )
    run.cut_log(backup.steps // options.steps_per_epoch)
    signals = EndOnSignal(backup)
    callbacks = [
        *distribution.connect(trained),
        *_logging(model, run, options, validation_batches),
        *callbacks,
        backup,  # an epoch is complete when every callback before has seen its end
        HaltOnDivergence(backup, lambda step: data.photos_of_step(*crops, options.seed, step - 1)),
        signals,  # last, so that it does not back up a diverged model
    ]
    unfinished = backup.steps < options.total_steps
    while backup.steps < options.total_steps:  # once, unless it starts inside an epoch or rolls back
        epoch, done = divmod(backup.steps, options.steps_per_epoch)
        try:
            with signals:
                trained.fit(
                    distribution.distribute(lambda shard: batches(first_step=backup.steps, shard=shard)),
                    validation_data=distribution.distribute(
                        lambda shard: data.shard_of(validation_batches, options.batch_size, shard)
                    ),
                    epochs=epoch + 1 if done else options.epochs,
                    steps_per_epoch=options.steps_per_epoch - done,
                    initial_epoch=epoch,
                    shuffle=False,  # the batches are in their order already
                    callbacks=callbacks,
                )
        except Diverged as error:
            if options.on_divergence == "stop" or not _roll_back(trained, backup):
                raise
            run.cut_log(backup.steps // options.steps_per_epoch)
            print(f"\n{error}: back to step {backup.steps}, at half the learning rate", file=sys.stderr)
        else:
            if trained.stop_training:  # as keras.callbacks.EarlyStopping asks
                break
    if unfinished:
        backup.save()
    model.load_weights(run.best_weights)
    if not finish or distribution.shard.all_replicas > 1:
        return None
    results = finish_run(model, *photos, run, options)
    shutil.rmtree(run.training)
    return results


def _logging(model: ImageModel, run: Run, options: TrainingOptions, validation_batches) -> list:
    """The callbacks that show and keep the progress; the first ones add to the logs that the others write."""
    epochs = run.epochs() if run.log.exists() else []
    degraded, clean = data.spread(validation_batches, 6)
    settings = {**run.config, "architecture": type(model).__name__}
    return [
        Throughput(options.batch_size),
        *([SwapEMAWeights()] if options.ema_momentum else []),
        ProgressBar(),
        RunSummary(run.log_dir, run.name, settings, (model.visible_part(degraded), clean)),
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


class ModelWeights(keras.callbacks.ModelCheckpoint):
    """A `ModelCheckpoint` that saves a model without the discriminator that it is trained against."""

    def set_model(self, model):
        super().set_model(model.model if isinstance(model, AdversarialTraining) else model)


def _roll_back(trained: keras.Model, backup: TrainingBackup) -> bool:
    """Restore the older backup and halve the learning rate; False if it has been halved often enough."""
    optimizer = without_loss_scaling(trained.optimizer)
    scale = float(ops.convert_to_numpy(optimizer.rate_scale)) / 2
    if scale < LEAST_RATE_SCALE:
        return False
    backup.restore(trained, oldest=True)
    optimizer.rate_scale.assign(scale)
    backup.save()  # in case the run is killed before the next backup
    return True


def check_unchanged(path: Path, model: ImageModel, training: data.Photos, validation: data.Photos):
    """Write down what a run starts with, or check that it continues with the same model and photos.

    Args:
        path: the JSON file, which is written if it does not exist.
        model: the model of the run.
        training: the training photos of the run.
        validation: the validation photos of the run.
    """
    facts = {"version of the random draws": DRAWS}
    facts |= _flat("model", keras.saving.serialize_keras_object(model)["config"])
    for part, photos in (("training", training), ("validation", validation)):
        facts |= {f"number of {part} photos": len(photos), f"hash of the {part} photos' names": photos.fingerprint}
    facts = json.loads(to_json(facts))  # tuples become lists
    if not path.exists():
        write_json(path, facts)
        return
    began = _in_todays_form({"version of the random draws": 1} | json.loads(path.read_text()), model)
    facts = _in_todays_form(facts, model)
    for name in began | facts:
        if began.get(name) != facts.get(name):
            hint = " (another version may divide photos otherwise)" if "photos" in name else ""
            hint = " (the version of keras_recon that began it can finish it)" if "draws" in name else hint
            raise ValueError(
                f"A run must go on with what it began with{hint}, {name}={began.get(name)!r}. "
                f"Received: {facts.get(name)!r}"
            )


def _in_todays_form(facts: dict, model: ImageModel) -> dict:
    """Translate facts that version 0.1.0 wrote: positions of layers, and an argument that is gone."""
    if facts.get("model.skips") is False:
        facts = {name: value for name, value in facts.items() if name != "model.skips"}
    lists_of_layers = [name for name in facts if name == "model.frozen" or name.startswith("model.quantized.")]
    return facts | {name: sorted(current_paths(model, facts[name])) for name in lists_of_layers}


def _flat(name: str, value) -> dict:
    """Flatten a nested configuration, without the names of layers, which depend on the layers built before."""
    if not isinstance(value, dict):
        return {name: value}
    items = [_flat(f"{name}.{key}", item) for key, item in value.items() if key not in ("name", "registered_name")]
    return {key: item for part in items for key, item in part.items()}
