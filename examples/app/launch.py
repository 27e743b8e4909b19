"""A training from its command line to its results: what all training scripts share."""

import dataclasses
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress

from app.parser import printable
from app.quiet import quiet_start
from app.settings import RunConfig, is_chief, load_photos, parse
from app.systems import SYSTEMS, System
from filelock import Timeout

with quiet_start():
    import keras
    import tensorflow as tf

    from keras_recon import degradations, load_model, losses
    from keras_recon.callbacks import Diverged, Interrupted
    from keras_recon.training import distribution
    from keras_recon.training.compile import estimate_seconds
    from keras_recon.training.finish import finish_run
    from keras_recon.training.train import train
    from keras_recon.utils.files import remove_temporaries
    from keras_recon.utils.tables import results_table

FAILED = 2
# After a preemption "try again", as sysexits.h has it; after Ctrl-C what shells say.
ENDED = {signal.SIGTERM: 75, signal.SIGINT: 130}


@contextmanager
def ended_by_signals(config):
    """SIGTERM and Ctrl-C end the process in order, before and after the training, which sees to itself.

    At once, as Python drops an exception that a signal raises in a finalizer, and inside of TensorFlow it may abort.
    """

    def end(number, frame):
        with suppress(OSError):
            remove_temporaries(config.run.folder)
        os.write(2, f"\nended; to go on: {_resume_command(config)}\n".encode())
        os._exit(ENDED[number])

    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.signal(number, end) for number in ENDED if is_main}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def launch(name: str, argv: list[str] | None, description: str):
    """Train the system of that name as the command line says, write the run's folders, print what came out.

    What goes wrong is printed and ends the process with status 2; a run without a finished epoch then leaves no
    folders. SIGTERM ends it with status 75, Ctrl-C with 130, both after a backup. A run that ended in one of these
    ways, or was killed, leaves what `--resume` goes on from.

    Returns:
        The trained model; None in a process that is not the chief.
    """
    system = SYSTEMS[name]
    config, resume = parse(system.config, argv, name, description)
    if not is_chief():
        return _work(system, config, resume)
    run = config.run
    made = [folder for folder in (run.folder, run.log_dir) if not folder.exists()]
    try:
        with run.lock(), ended_by_signals(config):
            if not resume and run.is_begun:
                raise Timeout(str(run.training))  # it began since the command line was checked
            model, results = _train(system, config, resume, made)
            shutil.rmtree(run.training)
    except Timeout:
        _end(FAILED, f"error: the run {config.run_name!r} is going on in another process")
    except OSError as error:
        _end(FAILED, f"error: {error}")
    _print_results(config, results)
    system.tell(config)
    return model


def _work(system, config, resume):
    """What a process that is not the chief does: the same, in folders of its own that go when it ends."""
    with tempfile.TemporaryDirectory() as folder:
        own = dataclasses.replace(config, saved_models=folder, logs=folder)
        if resume:
            shutil.copytree(config.run.folder, own.run.folder, ignore=shutil.ignore_patterns(".*"))
        own.run.folder.mkdir(parents=True, exist_ok=True)
        _train(system, own, resume, made=[])


def _train(system: System, config: RunConfig, resume: bool, made: list):
    """The trained model and the rows of its table, or the end of the process."""
    run = config.run
    remove_temporaries(run.folder)
    try:
        distributed = distribution.start(config.distribute)
        keras.utils.set_random_seed(config.seed)
        losses.from_string(config.loss)
        degradations.get(config.degradation)
        keras.config.set_dtype_policy(config.precision)
        photos = load_photos(dataclasses.asdict(config), config.on_bad_image, run.training)
        with distributed.scope():
            model = _initial(system, config) if config.init else config.build_model()
            photos = [part.for_upscale(model.upscale) for part in photos]
            if not resume:
                run.begin(dataclasses.asdict(config))
            if is_chief():
                _announce(model, config, photos, distributed)
            options = dataclasses.replace(config, fit_linear_path=not config.init)
            train(model, *photos, run, options, distributed, finish=False)
        if not is_chief():
            return None, None
        if config.distribute != "none":
            model = model.clone()  # outside of the scope, for one process and device
        system.keep(model, run)
        return model, finish_run(model, *photos, run, config)
    except Interrupted as error:
        _end(ENDED[error.number], f"{error}; to go on: {_resume_command(config)}")
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        # tf.data tells of an unreadable photo by a whole traceback.
        inner = isinstance(error, tf.errors.OpError) and re.search("ValueError: (.+)", str(error))
        text = f"error: {inner[1] if inner else error}"
        started = run.log.exists() and run.log.stat().st_size
        if isinstance(error, Diverged):
            text += f"; to go on at a lower rate: {_resume_command(config)} --on-divergence rollback" * bool(started)
            text += f"; the --learning-rate of {config.learning_rate:g} may be too high" * (not started)
        if not started and run.folder in made:  # no epoch to go on from
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
        _end(FAILED, text)


def _initial(system, config):
    """The model that the training starts from, for the size of its crops."""
    model = load_model(config.init)
    if not isinstance(model, system.model):
        raise ValueError(
            f"--init must be a {system.model.__name__} for {system.script}. Received: {config.init}, a "
            f"{type(model).__name__}"
        )
    if config.image_shape != model.image_shape:
        model = model.for_image_shape(config.image_shape)
    return model if model.dtype_policy.name == config.precision else model.clone(dtype=config.precision)


def _announce(model, config, photos, distributed):
    """What is trained, on what, where it goes and how long it will take."""
    training, validation = photos
    steps = f"{config.epochs} epochs of {config.steps_per_epoch} steps of {config.batch_size} crops"
    print(f"Training {type(model).__name__}, {model.count_params():,} parameters, {steps}")
    where = f"of {config.val_data} are" if config.val_data else "are held out"
    kind = f"pairs of {config.data} and {config.target}" if config.target else f"photos of {config.data}"
    print(printable(f"on {len(training):,} {kind}; {len(validation):,} {where} for validation."))
    print(f"Everything goes to {config.run.folder}.", end=" ")
    if distributed.shard.all_replicas == 1:
        print(f"It will take about {_duration(estimate_seconds(model, config))}.", end="")
    print(flush=True)


def _duration(seconds):
    if seconds < 90:
        return f"{round(seconds, -1):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _end(status, text):
    # The progress bar may not have ended its line.
    print("", *map(printable, text.splitlines()), sep="\n", file=sys.stderr)
    sys.exit(status)


def _resume_command(config):
    folders = f"--saved-models {shlex.quote(config.saved_models)} --logs {shlex.quote(config.logs)}"
    return f"python {sys.argv[0]} --run-name {config.run_name} {folders} --resume"


def _print_results(config, results):
    # In 80 columns; how much of a pretrained model is trained was told before.
    rows = {name: {k: v for k, v in row.items() if k != "trainable parameters"} for name, row in results.items()}
    print(f"\n{results_table(rows)}\n")
    psnr = [epoch["val_psnr"] for epoch in config.run.epochs()]
    if config.selects_weights and len(psnr) > 1 and psnr[0] == max(psnr):
        print("The weights are those of the first epoch: later ones were worse. A lower --learning-rate may help.\n")
    for path in sorted(config.run.folder.glob("[!.]*")):
        print(path)
    print(f"tensorboard --logdir {config.logs}")
    if keras.backend.backend() == "torch":
        print("No SavedModel from the torch backend; the .keras file exports under TensorFlow:")
        print(f"KERAS_BACKEND=tensorflow python examples/export.py {config.run.folder}")
