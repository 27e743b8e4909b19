"""The training runs of a comparison."""

import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

from app import settings
from app.parser import fail
from app.settings import RunConfig, flag
from app.systems import SYSTEMS

from keras_recon.utils.run import Run, data_of

SCRIPTS = {
    name: Path(__file__).parents[1] / system.script for name, system in SYSTEMS.items() if name != "mae"
}  # a masked model answers another question
# Settings that are the same for all: those that the comparison can be told, and those that it works out.
SHARED = (
    "data",
    "target",
    "val_data",
    "val_target",
    "data_dir",
    "resize",
    "image_size",
    "channels",
    "batch_size",
    "degradation",
    "loss",
    "precision",
    "cache",
    "saved_models",
    "logs",
)
RESERVED = (*SHARED, "epochs", "steps_per_epoch", "seed", "run_name", "resume")
CALIBRATION = {"epochs": 2, "steps_per_epoch": 150}  # as many steps as it takes for XLA, see keras_recon.training


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row: a finished run's `folder`, a training `script` by name and its `flags`, or a `preset`."""

    label: str
    folder: Path | None = None
    script: str | None = None
    flags: tuple[str, ...] = ()
    preset: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """From `[label=]folder`, `[label=]script flags` or `[label=]preset:name`; a ValueError for what is neither."""
        label, spec = re.fullmatch(r"(?:([\w.+-]+)=)?(.*)", text, re.DOTALL).groups()
        folder, words = Path(spec), shlex.split(spec)
        if spec.startswith("preset:"):
            preset = spec.removeprefix("preset:")
            return cls(label or preset, preset=preset)
        if words and os.path.isdir(folder):
            if not Run(folder).is_finished:
                raise ValueError(f"a folder must be a finished run's. Received: SPEC={text!r}")
            return cls(label or folder.resolve().name, folder)
        if not words or words[0] not in SCRIPTS:
            raise ValueError(
                f"SPEC must be a finished run's folder, preset:NAME, or one of {', '.join(SCRIPTS)} and flags of that "
                f"training script. Received: SPEC={text!r}"
            )
        for word in words[1:]:
            start = word.split("=")[0]  # a flag, or its first letters, which no script takes
            if len(start) > 2 and any(flag(name).startswith(start) for name in RESERVED):
                raise ValueError(f"{start} must be the same for all runs, outside of SPEC. Received: SPEC={text!r}")
        return cls(label or re.sub(r"[^\w.+]+", "-", spec.strip()), None, words[0], tuple(words[1:]))


@dataclasses.dataclass(frozen=True)
class Job:
    """A training run: the label of its row, its script and flags, and the configuration that they make."""

    label: str
    script: Path
    flags: list[str]
    config: RunConfig

    @classmethod
    def of(cls, spec: Spec, run_name: str, shared: dict) -> "Job":
        """The run of `spec` under `shared` settings.

        A ValueError tells what the script would refuse, and that the run exists with other settings.
        """
        system = SYSTEMS[spec.script]
        flags = [*spec.flags, *(f"{flag(name)}={value}" for name, value in shared.items() if value is not None)]
        errors = io.StringIO()
        try:
            with redirect_stderr(errors):
                config, _ = settings.parse(system.config, flags, spec.script, f"flags of {system.script}")
        except SystemExit as exit_:
            if not exit_.code:  # --help
                raise
            raise ValueError(f"{spec.label}: {errors.getvalue().strip().removeprefix('error: ')}") from None
        config = dataclasses.replace(config, run_name=run_name)
        saved = config.run.config if config.run.is_begun else {}
        for name, value in dataclasses.asdict(config).items():
            if saved.get(name, value) != value:
                raise ValueError(
                    f"the run {run_name} has {name}={saved[name]!r}: choose another --name. Received: {name}={value!r}"
                )
        return cls(spec.label, SCRIPTS[spec.script], flags, config)

    def finish(self) -> Path:
        """Have the script train what is not finished; the run's folder."""
        run, name = self.config.run, self.config.run_name
        if run.is_finished:
            return run.folder
        flags = self.flags
        if run.is_begun:
            flags = ["--resume", f"--saved-models={self.config.saved_models}", f"--logs={self.config.logs}"]
        print(f"\n{name}: {self.script.name} {shlex.join(flags)}", flush=True)
        done = subprocess.run([sys.executable, self.script, *flags, f"--run-name={name}"])
        if done.returncode:
            fail(f"{self.script.name} ended with exit status {done.returncode} in the run {name}")
        return run.folder


def steps_within(minutes: float, epochs: int, batch_size: int, calibration: Path) -> int:
    """Steps per epoch that fill a budget of minutes in `epochs` epochs, from the folder of a calibration run."""
    log = Run(calibration).epochs()
    first, second = (epoch["seconds"] for epoch in log)
    step = batch_size / log[1]["images_per_second"]
    validation = max(0.0, second - CALIBRATION["steps_per_epoch"] * step)
    start_up = max(0.0, first - second)
    steps = int(((60 * minutes - start_up) / epochs - validation) / step)
    if steps < 1:
        least = (start_up + epochs * (validation + step)) / 60
        raise ValueError(f"--minutes must be at least {least:.2f} for {calibration.name}. Received: {minutes:g}")
    return steps


def check_comparable(
    folders: dict[str, Path], image_shape: tuple[int, int, int], degradation: str | None, data: str | None
):
    """Refuse finished runs of other image shapes or degradations, or of different numbers of latent values.

    And of other photos, see `data_of`, unless `data` is None.
    """
    facts = {}
    for label, folder in folders.items():
        run = Run(folder)
        config = run.config
        if config.get("mask_ratio"):
            raise ValueError(f"all runs must see whole images, not masked ones. Received: the masked run {label}")
        shape = RunConfig(**{name: config[name] for name in ("image_size", "channels") if name in config}).image_shape
        degraded = f"degradation {config.get('degradation')}"  # older runs have no such setting
        facts[label] = (
            shape,
            degraded,
            *([data_of(config)] if data else []),
            run.results["model"].get("latent values"),
        )
    wanted = (image_shape, f"degradation {degradation}", *([data] if data else []))
    if len({wanted, *(fact[:-1] for fact in facts.values())}) > 1 or len(set(facts.values())) > 1:
        received = "; ".join(f"{label} {', '.join(map(str, fact))}" for label, fact in facts.items())
        of_data = f"the data {data!r} (or be evaluated by --eval), " if data else ""
        raise ValueError(
            f"all runs must have {of_data}the image shape {image_shape}, the degradation {degradation} and one number "
            f"of latent values. Received: {received}"
        )


def check_held_out(runs: dict[str, list[Run]], validation):
    """Refuse finished runs, by label, that were validated on other photos: they may have been trained on these."""
    for run in (run for seeds in runs.values() for run in seeds):
        known = run.protocol.get("validation photos", "")
        if validation.paths and validation.fingerprint not in known:
            raise ValueError(
                f"the run {run.folder} held out other photos of {data_of(run.config) or 'its own data'}, or an older "
                "version divided them: compare on other photos with --eval"
            )
