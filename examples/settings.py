"""The command line of the examples. Only the standard library is imported, so that mistakes are answered at once."""

import argparse
import dataclasses
import json
import math
import os
import re
import types
import typing
from dataclasses import MISSING, dataclass, field
from datetime import datetime
from pathlib import Path


def setting(default, text: str, **kwargs):
    """A field of a run's configuration with its help text."""
    return field(default=default, metadata={"help": text, **kwargs})


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# What `keras_recon.training.train` takes as it is, where a configuration has it.
TRAINING_OPTIONS = (
    "batch_size",
    "epochs",
    "steps_per_epoch",
    "seed",
    "loss",
    "learning_rate",
    "base_batch_size",
    "warmup_steps",
    "weight_decay",
    "ema_momentum",
    "backbone_scale",
    "on_divergence",
)
RESUME_MAY_CHANGE = ("on_bad_image", "on_divergence", "distribute")
# What a number must be, where a configuration has it.
LIMITS = (
    (
        "at least 1",
        lambda x: x >= 1,
        ("batch_size", "base_batch_size", "epochs", "steps_per_epoch", "patch_size", "latent_dim"),
    ),
    ("finite, from 0", lambda x: 0 <= x < math.inf, ("learning_rate", "backbone_scale", "weight_decay", "kl_weight")),
    ("from 0 to below 1", lambda x: 0 <= x < 1, ("ema_momentum", "dropout_rate", "drop_path_rate", "mask_ratio")),
    ("from 0 to below 2^32", lambda x: 0 <= x < 2**32, ("seed",)),
)


@dataclass(frozen=True)
class RunConfig:
    """What every training example can be told; saved as `config.json` beside the run's results."""

    data: str = setting("sample", "photos to train on: 'sample', 'tfds:NAME' or a folder")
    data_dir: str | None = setting(None, "folder of TensorFlow Datasets")
    image_size: str = setting("64", "height and width of the crops in pixels, as 64 or 64x96")
    channels: int = setting(3, "1 (gray), 3 (RGB) or 4 (RGBA)", choices=(1, 3, 4))
    on_bad_image: str = setting("skip", "what is done about images that cannot be read", choices=("skip", "error"))
    batch_size: int = setting(32, "images per step")
    epochs: int = setting(6, "epochs; each ends with a validation")
    steps_per_epoch: int = setting(100, "training steps per epoch")
    learning_rate: float = setting(3e-3, "peak learning rate of AdamW")
    base_batch_size: int | None = setting(
        None, "batch size that the learning rate is for; at others it is multiplied by the square root of the ratio"
    )
    warmup_steps: int = setting(100, "steps until the peak learning rate; in short runs at most half of all")
    weight_decay: float = setting(0.05, "weight decay of the network's kernels")
    ema_momentum: float = setting(0.99, "momentum of the moving average of the weights that is validated; 0 for none")
    degradation: str | None = setting(
        None, "what the model learns to undo, such as noise:25, noise:0-50, mask:0.75, blur:1.6+noise:5 or jpeg:10"
    )
    loss: str = setting("mse", "mse, l1, charbonnier, ssim or a mix such as charbonnier+0.2*ssim")
    precision: str = setting("float32", "Keras dtype policy", choices=PRECISIONS)
    on_divergence: str = setting(
        "stop",
        "what follows when the loss explodes: stop, or rollback by an epoch or two, to go on at half the learning rate",
        choices=("stop", "rollback"),
    )
    distribute: str = setting(
        "none", "none, data (a part of each batch on every device) or model:N (a model over N devices each, JAX only)"
    )
    seed: int = setting(0, "seed of weights, crops and dropout")
    run_name: str | None = setting(None, "name of the run's folders; model and time of day if not given")
    saved_models: str = setting("saved_models", "folder of the runs' results")
    logs: str = setting("runs", "folder of the runs' TensorBoard logs")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, _, width = self.image_size.partition("x")
        return int(height), int(width or height), self.channels

    def model_options(self) -> dict:
        """The settings that a subclass adds and that are set: arguments of the model, with `image_shape`."""
        own = {f.name for f in dataclasses.fields(self)} - {f.name for f in dataclasses.fields(RunConfig)}
        options = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        return {"image_shape": self.image_shape, **options}

    @property
    def run_dir(self) -> Path:
        return Path(self.saved_models, self.run_name)

    @property
    def log_dir(self) -> Path:
        return Path(self.logs, self.run_name)


def parse(config_class: type[RunConfig], argv: list[str] | None, model: str, smoke: dict, description: str) -> tuple:
    """The configuration that the command line asks for, and whether it resumes a run.

    `--smoke` puts the values of `smoke` in the place of the defaults. `--resume` takes every setting from the
    `config.json` of `--run-name`; a setting that contradicts it is an error.
    """
    parser = argparse.ArgumentParser(description=description, argument_default=argparse.SUPPRESS)
    for f in dataclasses.fields(config_class):
        add_setting(parser, f)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that shows that all works")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run --run-name")
    given = vars(parser.parse_args(argv))
    resume, smoke = given.pop("resume", False), smoke if given.pop("smoke", False) else {}
    config = config_class(**{**smoke, **given})
    if "warmup_steps" not in {**smoke, **given}:
        half = config.epochs * config.steps_per_epoch // 2
        config = dataclasses.replace(config, warmup_steps=min(config.warmup_steps, half))
    if not config.run_name:
        if resume:
            parser.error("--resume needs --run-name, the run to go on with")
        config = dataclasses.replace(config, run_name=f"{model}-{datetime.now():%Y%m%d-%H%M%S}")
    part = r"[\w+-][\w.+-]*"
    text = "of letters, digits and _ . + -, with no dot in front, and single / between folders"
    _require(parser, config, "run_name", lambda name: re.fullmatch(f"{part}(/{part})*", name), text)
    path = config.run_dir / "config.json"
    if resume:
        if not path.exists():
            parser.error(f"--resume found no run to go on with. Received: run_name={config.run_name!r} (no {path})")
        try:
            saved = json.loads(path.read_text())
        except ValueError:
            saved = None
        if not isinstance(saved, dict) or saved.keys() != {f.name for f in dataclasses.fields(config_class)}:
            parser.error(f"--resume must find the whole config.json of a run of this script. Received: {path}")
        for name, value in given.items():
            if saved.get(name, value) != value and name not in RESUME_MAY_CHANGE:
                parser.error(f"--resume keeps the run's settings: {name}={saved[name]!r}. Received: {name}={value!r}")
        config = config_class(**{**saved, **{name: given[name] for name in RESUME_MAY_CHANGE if name in given}})
        if (config.run_dir / "metrics.json").exists():
            parser.error(f"the run {config.run_name!r} is finished: there is nothing to resume")
    elif path.exists() and is_chief():
        parser.error(f"the run {config.run_name!r} exists: choose another --run-name, or --resume it")
    _check(parser, config)
    return config, resume


def is_chief() -> bool:
    """Whether this process is the only one of the run, or the first of several: the one that writes."""
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) == 0


def add_setting(parser, f):
    """Add the flag of a configuration's field to a parser or a group of its arguments."""
    flag = "--" + f.name.replace("_", "-")
    kwargs = {key: value for key, value in f.metadata.items() if key != "help"}
    text = f.metadata["help"] + ("" if f.default in (None, MISSING) else f" (default: {f.default})")
    if f.type is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
    else:
        kind = next(t for t in typing.get_args(f.type) or [f.type] if t is not types.NoneType)
        parser.add_argument(flag, type=kind, help=text, **kwargs)


def _check(parser, config):
    """Refuse what can only be a mistake, before anything heavy is imported."""
    side = "[1-9][0-9]*"
    _require(parser, config, "image_size", lambda text: re.fullmatch(f"{side}(x{side})?", text), "as 64 or 64x96")
    for expectation, valid, names in LIMITS:
        for name in names:
            _require(parser, config, name, valid, expectation)
    height, width, _ = config.image_shape
    divides = f"a divisor of the image's height and width ({height} and {width})"
    _require(parser, config, "patch_size", lambda side: height % side == width % side == 0, divides)
    steps = config.epochs * config.steps_per_epoch
    _require(parser, config, "warmup_steps", lambda count: 0 <= count < steps, f"from 0 to below all {steps} steps")
    kinds = "none|data|model:[1-9][0-9]*"
    _require(parser, config, "distribute", lambda text: re.fullmatch(kinds, text), "none, data or model:N")
    source = "'sample', 'tfds:NAME' or a folder of images"
    _require(parser, config, "data", lambda data: re.fullmatch("sample|tfds:.+", data) or Path(data).is_dir(), source)


def _require(parser, config, name, valid, expectation):
    value = getattr(config, name, None)  # not every configuration has every setting, nor sets it
    if value is not None and not valid(value):
        parser.error(f"--{name.replace('_', '-')} must be {expectation}. Received: {name}={value!r}")
