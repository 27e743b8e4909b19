"""A training run from its configuration to its results: what all training examples share."""

import dataclasses
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout
from settings import TRAINING_OPTIONS, RunConfig, is_chief

FAILED = 2
# After a preemption "try again", as sysexits.h has it; after Ctrl-C what shells say.
ENDED = {signal.SIGTERM: 75, signal.SIGINT: 130}


class Terminated(KeyboardInterrupt):
    """SIGTERM came before or after the training, which ends in order at it."""


def _terminate(number, frame):
    raise Terminated


def run(config: RunConfig, resume: bool, build_model, keep=lambda model: None):
    """Train the model `build_model(keras_recon.models)` as `config` says, write the run's folders, print what came out.

    `keep(model)` writes what else is kept of it, before the results, with which the run ends.

    What goes wrong is printed and ends the process with status 2; a run without a finished epoch then leaves no
    folders. SIGTERM ends it with status 75, Ctrl-C with 130, both after a backup. A run that ended in one of these
    ways, or was killed, leaves what `--resume` goes on from.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes would hide ours
    if not is_chief():
        return _work(config, resume, build_model)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    made = [folder for folder in (config.run_dir, config.log_dir) if not folder.exists()]
    state = config.run_dir / "training"
    try:
        state.mkdir(parents=True, exist_ok=True)
        with FileLock(state / ".lock", timeout=0):  # the system frees it when the process ends
            if not resume and (config.run_dir / "config.json").exists():
                raise Timeout(str(state))  # it began since the command line was checked
            model, results = _train(config, resume, build_model, made, keep)
            shutil.rmtree(state)
    except Timeout:
        _end(FAILED, f"error: the run {config.run_name!r} is going on in another process")
    except OSError as error:
        _end(FAILED, f"error: {error}")
    except KeyboardInterrupt as error:  # before or after the training, which ends in order
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        _end(ENDED[number], f"ended; to go on: {_resume_command(config)}")
    _print_results(config, results)
    return model


def _work(config, resume, build_model):
    """What a process that is not the chief does: the same, in folders of its own that go when it ends."""
    with tempfile.TemporaryDirectory() as folder:
        own = dataclasses.replace(config, saved_models=folder, logs=folder)
        if resume:
            shutil.copytree(config.run_dir, own.run_dir, ignore=shutil.ignore_patterns(".*"))
        own.run_dir.mkdir(parents=True, exist_ok=True)
        _train(own, resume, build_model, made=[], keep=None)


def _train(config, resume, build_model, made, keep):
    """The trained model and the rows of its table, or the end of the process."""
    import keras  # from here on imports take seconds
    import tensorflow as tf

    from keras_recon import data, degradations, distribution, files, losses, models, report, safeguards, training

    options = dataclasses.asdict(config)
    shared = {"run_dir": config.run_dir, "log_dir": config.log_dir, "config": options}
    files.remove_temporaries(config.run_dir)
    try:
        distributed = distribution.start(config.distribute)
        keras.utils.set_random_seed(config.seed)
        losses.from_string(config.loss)
        if config.degradation is not None:
            shared["degradation"] = degradations.from_string(config.degradation)
        keras.config.set_dtype_policy(config.precision)
        photos = data.load_photos(config.data, config.channels, config.data_dir, config.on_bad_image)
        chosen = {name: options[name] for name in TRAINING_OPTIONS if name in options}
        with distributed.scope():
            model = build_model(models)
            if not resume:
                files.write_json(config.run_dir / "config.json", options)
            training.train(model, *photos, **shared, **chosen, distribution=distributed)
        if not is_chief():
            return None, None
        if config.distribute != "none":
            model = distribution.alone(model)
        keep(model)
        return model, report.finish_run(model, *photos, **shared)
    except safeguards.Interrupted as error:
        _end(ENDED[error.number], f"{error}; to go on: {_resume_command(config)}")
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        # tf.data tells of an unreadable photo by a whole traceback.
        inner = isinstance(error, tf.errors.OpError) and re.search("ValueError: (.+)", str(error))
        text = f"error: {inner[1] if inner else error}"
        log = config.run_dir / "log.csv"
        started = log.exists() and log.stat().st_size
        if started and isinstance(error, safeguards.Diverged):
            text += f"; to go on at a lower learning rate: {_resume_command(config)} --on-divergence rollback"
        if not started and config.run_dir in made:  # no epoch to go on from
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
        _end(FAILED, text)


def _end(status, text):
    print(text, file=sys.stderr)
    sys.exit(status)


def _resume_command(config):
    folders = f"--saved-models {shlex.quote(config.saved_models)} --logs {shlex.quote(config.logs)}"
    return f"python {sys.argv[0]} --run-name {config.run_name} {folders} --resume"


def _print_results(config, results):
    import keras

    from keras_recon import report

    print(f"\n{report.results_table(results)}\n")
    for path in sorted(config.run_dir.glob("[!.]*")):
        print(path)
    print(f"tensorboard --logdir {config.logs}")
    if keras.backend.backend() == "torch":
        print("No SavedModel from the torch backend; the .keras file exports under TensorFlow:")
        print(f"KERAS_BACKEND=tensorflow python {Path(__file__).with_name('export.py')} {config.run_dir}")
