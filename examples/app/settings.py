"""The command line of the trainings."""

import argparse
import dataclasses
import os
import re
import types
import typing
from dataclasses import MISSING, dataclass, field
from datetime import datetime
from pathlib import Path

from app.parser import Parser
from app.quiet import quiet_start

with quiet_start():
    from keras_recon.data.pairs import is_paired
    from keras_recon.training.options import TrainingOptions
    from keras_recon.utils.run import Run

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
RESUME_MAY_CHANGE = ("cache", "on_bad_image", "on_divergence", "distribute")
# A run of seconds, of the model as it is asked for.
SMOKE = {"image_size": "64", "batch_size": 4, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 1}
# What a number must be, where a configuration has it.
LIMITS = (
    ("at least 1", lambda x: x >= 1, ("patch_size", "latent_dim", "resize")),
    ("at least 0", lambda x: x >= 0, ("kl_weight",)),
    ("from 0 to below 1", lambda x: 0 <= x < 1, ("dropout_rate", "drop_path_rate", "mask_ratio")),
)
# Arguments of argparse by the name of the option in `TrainingOptions`. Other options have no flag.
TRAINING = {
    "batch_size": {"help": "images per step"},
    "epochs": {"help": "number of epochs; each ends with a validation"},
    "steps_per_epoch": {"help": "training steps per epoch"},
    "learning_rate": {"help": "peak learning rate of AdamW"},
    "base_batch_size": {
        "help": "batch size that the learning rate is tuned for; others multiply it by the square root of the ratio"
    },
    "warmup_steps": {"help": "steps until the peak learning rate, limited to half of all steps"},
    "weight_decay": {"help": "weight decay of the network's kernels"},
    "ema_momentum": {"help": "momentum of the moving average of the weights that is validated; 0 for none"},
    "degradation": {
        "help": "the degradation that the model learns to undo, such as noise:25, noise:0-50, blur:1.6+noise:5, "
        "mask:0.75 or jpeg:10"
    },
    "quarter_turns": {"help": "also turn the crops by multiples of 90 degrees; they must be square"},
    "loss": {"help": "mse, l1, charbonnier, ssim, perceptual:PRESET or a mix such as charbonnier+0.2*ssim"},
    "adversarial": {"help": "weight of an adversarial loss beside --loss, for a trained model; 0 for none"},
    "on_divergence": {
        "help": "what to do if the loss explodes: stop, or rollback by one or two epochs and continue at half the "
        "learning rate, up to four times",
        "choices": ("stop", "rollback"),
    },
    "seed": {"help": "seed of weights, crops and dropout"},
}


def option(default, text: str, **kwargs):
    """A field of a configuration with a flag on the command line, its help text and other arguments of argparse."""
    return field(default=default, metadata={"help": text, **kwargs})


@dataclass(frozen=True)
class RunConfig(TrainingOptions):
    """What every training can be told; saved as `config.json` beside the run's results."""

    data: str = option("sample", "photos to train on: 'sample', 'tfds:NAME', a folder, or a CSV file of pairs")
    target: str | None = option(
        None, "folder of the clean photos under the names of those in --data, the degraded ones"
    )
    val_data: str | None = option(None, "folder of the photos for validation; a part of --data if not given")
    val_target: str | None = option(None, "folder of the clean photos of --val-data")
    data_dir: str | None = option(None, "folder of TensorFlow Datasets")
    resize: int | None = option(None, "shorter side in pixels that larger photos are made smaller to, before the crops")
    image_size: str = option("64", "height and width of the crops in pixels, as 64 or 64x96")
    channels: int = option(3, "1 (gray), 3 (RGB) or 4 (RGBA)", choices=(1, 3, 4))
    cache: str | None = option(None, "folder that keeps the decoded photos, for later runs")
    on_bad_image: str = option("skip", "what is done about images that cannot be read", choices=("skip", "error"))
    init: str | None = option(
        None,
        "a preset, a run's folder or a .keras file: the training starts from its weights and keeps its architecture",
    )
    precision: str = option("float32", "Keras dtype policy", choices=PRECISIONS)
    distribute: str = option(
        "none", "none, data (a part of each batch on every device) or model:N (a model over N devices each, JAX only)"
    )
    run_name: str | None = option(None, "name of the run's folders; model and time of day if not given")
    saved_models: str = option("saved_models", "folder of the runs' results")
    logs: str = option("runs", "folder of the runs' TensorBoard logs")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, _, width = self.image_size.partition("x")
        return int(height), int(width or height), self.channels

    def model_options(self) -> dict:
        """The settings that a subclass adds and that are set: arguments of the model, with `image_shape`."""
        options = {name: getattr(self, name) for name in own_settings(type(self)) if getattr(self, name) is not None}
        if options.get("linear_path"):
            options["linear_path"] = "lapped"  # the best, which a masked model turns into one of patches
        return {"image_shape": self.image_shape, **options}

    @property
    def run(self) -> Run:
        return Run(Path(self.saved_models, self.run_name), Path(self.logs, self.run_name))


def own_settings(config_class: type[RunConfig]) -> set[str]:
    """The settings that a subclass adds: those of its model."""
    return {f.name for f in dataclasses.fields(config_class)} - {f.name for f in dataclasses.fields(RunConfig)}


def parse(config_class: type[RunConfig], argv: list[str] | None, model: str, description: str) -> tuple:
    """The configuration that the command line asks for, and whether it resumes a run.

    `--smoke` puts the values of `SMOKE` in the place of the defaults. `--resume` takes every setting from the
    `config.json` of `--run-name`; a setting that contradicts it is an error.
    """
    parser = Parser(description, argument_default=argparse.SUPPRESS)
    for f in dataclasses.fields(config_class):
        add_setting(parser, f)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that shows that all works")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run --run-name")
    given = vars(parser.parse_args(argv))
    resume, smoke = given.pop("resume", False), SMOKE if given.pop("smoke", False) else {}
    try:
        return _configuration(config_class, given, smoke, resume, model), resume
    except ValueError as error:
        parser.error(re.sub(r"^`(\w+)`", lambda name: flag(name[1]), str(error)))


def _configuration(config_class, given, smoke, resume, model):
    degraded = is_paired(given.get("data"), given.get("target")) or given.get("upscale", 1) > 1
    if "degradation" not in given and degraded:
        given["degradation"] = None  # inputs of pairs are degraded, inputs of models that enlarge are downscaled
    if given.get("init"):
        own = sorted(given.keys() & own_settings(config_class))
        if own:
            raise ValueError(f"--init keeps the architecture of its model. Received: {', '.join(map(flag, own))}")
    config = config_class(**{**smoke, **given})
    if not config.run_name:
        if resume:
            raise ValueError("--resume needs --run-name, the run to go on with")
        config = dataclasses.replace(config, run_name=f"{model}-{datetime.now():%Y%m%d-%H%M%S}")
    part = r"[\w+-][\w.+-]*"
    text = "of letters, digits and _ . + -, with no dot in front, and single / between folders"
    _require(config, "run_name", lambda name: re.fullmatch(f"{part}(/{part})*", name), text)
    run = config.run
    if resume:
        if not run.is_begun:
            raise ValueError(f"--resume found no run to go on with. Received: run_name={config.run_name!r}")
        saved = run.config
        if saved.keys() != {f.name for f in dataclasses.fields(config_class)}:
            raise ValueError(
                f"--resume must find the settings of a run of this script and version. Received: {run.folder}"
            )
        for name, value in given.items():
            if saved[name] != value and name not in RESUME_MAY_CHANGE:
                raise ValueError(
                    f"--resume keeps the run's settings: {name}={saved[name]!r}. Received: {name}={value!r}"
                )
        config = config_class(**{**saved, **{name: given[name] for name in RESUME_MAY_CHANGE if name in given}})
        if run.is_finished:
            raise ValueError(f"the run {config.run_name!r} is finished: there is nothing to resume")
    elif run.is_begun and is_chief():
        raise ValueError(f"the run {config.run_name!r} exists: choose another --run-name, or --resume it")
    _check(config)
    return config


def load_photos(settings: dict, on_bad: str, thumbnails: Path) -> tuple:
    """Training and validation photos of a run's settings; `thumbnails` is the folder for these without a cache."""
    from keras_recon import data

    parts = {name: settings[name] for name in ("channels", "data_dir", "val_data", "target", "val_target", "resize")}
    return data.load_photos(settings["data"], on_bad=on_bad, cache=settings["cache"], thumbnails=thumbnails, **parts)


def is_chief() -> bool:
    """Whether this process is the only one of the run, or the first of several: the one that writes."""
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) == 0


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def add_setting(parser, f):
    """Add the flag of a configuration's field, if it has one, to a parser or a group of its arguments."""
    kwargs = {**(f.metadata or TRAINING.get(f.name, {}))}
    if not kwargs:
        return
    text = kwargs.pop("help") + ("" if f.default in (None, MISSING) else f" (default: {f.default})")
    if f.type is bool:
        parser.add_argument(flag(f.name), action=argparse.BooleanOptionalAction, help=text)
    else:
        kind = next(t for t in typing.get_args(f.type) or [f.type] if t is not types.NoneType)
        parser.add_argument(flag(f.name), type=kind, help=text, **kwargs)


def _check(config):
    """Refuse what can only be a mistake, before anything is read."""
    side = "[1-9][0-9]*"
    _require(config, "image_size", lambda text: re.fullmatch(f"{side}(x{side})?", text), "as 64 or 64x96")
    for expectation, valid, names in LIMITS:
        for name in names:
            _require(config, name, valid, expectation)
    height, width, _ = config.image_shape
    divides = f"a divisor of the image's height and width ({height} and {width})"
    if not config.init:
        _require(config, "patch_size", lambda side: height % side == width % side == 0, divides)
    kinds = "none|data|model:[1-9][0-9]*"
    _require(config, "distribute", lambda text: re.fullmatch(kinds, text), "none, data or model:N")
    source = "'sample', 'tfds:NAME', a CSV file of pairs or a folder of images that is there"
    _require(config, "data", lambda data: re.fullmatch("sample|tfds:.+", data) or _is_source(data), source)
    _require(config, "val_data", _is_source, "a CSV file of pairs or a folder of images that is there")
    for name, of in (("target", "data"), ("val_target", "val_data")):
        _require(config, name, os.path.isdir, "a folder of images that is there")
        _require(config, name, lambda _, of=of: getattr(config, of) not in (None, "sample"), f"that of a {flag(of)}")
    trained = "0 without --init, whose model it makes look right"
    _require(config, "adversarial", lambda weight: not weight or config.init, trained)
    paired = is_paired(config.data, config.target)
    _require(config, "degradation", lambda text: not paired, "none where pairs of photos have theirs")
    _require(config, "resize", lambda side: not paired, "none for pairs, whose flaws it would change")
    preset = "the name of a preset, a URI as hf://owner/name, or a folder that is there"
    _require(config, "preset", lambda text: "://" in text or "/" not in text or os.path.isdir(text), preset)


def _is_source(path):
    # Those of pathlib raise errors for paths that are too long or barred.
    return os.path.isdir(path) or (Path(path).suffix.lower() == ".csv" and os.path.isfile(path))


def _require(config, name, valid, expectation):
    value = getattr(config, name, None)  # not every configuration has every setting, nor sets it
    if value is not None and not valid(value):
        raise ValueError(f"{flag(name)} must be {expectation}. Received: {name}={value!r}")
