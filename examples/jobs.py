"""The training runs of a comparison. Only the standard library is imported, so that mistakes are answered at once."""

import csv
import dataclasses
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import settings
from settings import RunConfig

SCRIPTS = {path.stem.removeprefix("train_"): path for path in sorted(Path(__file__).parent.glob("train_*.py"))}
# Settings that are the same for all: those that the comparison can be told, and those that it works out.
SHARED = (
    "data",
    "data_dir",
    "image_size",
    "channels",
    "batch_size",
    "degradation",
    "loss",
    "precision",
    "saved_models",
    "logs",
)
RESERVED = (*SHARED, "epochs", "steps_per_epoch", "seed", "run_name", "resume")
CALIBRATION = {"epochs": 2, "steps_per_epoch": 150}  # as many steps as it takes for XLA, see keras_recon.training


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the comparison: a finished run's `folder`, or a training `script` by name and its `flags`."""

    label: str
    folder: Path | None = None
    script: str | None = None
    flags: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """From `[label=]folder` or `[label=]script flags`; a ValueError for what is neither."""
        label, spec = re.fullmatch(r"(?:([\w.+-]+)=)?(.*)", text, re.DOTALL).groups()
        folder, words = Path(spec), shlex.split(spec)
        if words and folder.is_dir():
            if not (folder / "metrics.json").exists():
                raise ValueError(f"a folder must be a finished run's, with a metrics.json. Received: SPEC={text!r}")
            return cls(label or folder.resolve().name, folder)
        if not words or words[0] not in SCRIPTS:
            raise ValueError(
                f"SPEC must be a finished run's folder, or one of {', '.join(SCRIPTS)} and flags of that training "
                f"script. Received: SPEC={text!r}"
            )
        for word in words[1:]:
            start = word.split("=")[0]  # argparse takes a flag by its first letters
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
        module = importlib.import_module(f"train_{spec.script}")
        classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, RunConfig)]
        (config_class,) = (c for c in classes if c.__module__ == module.__name__)
        flags = [*spec.flags, *(f"{flag(name)}={value}" for name, value in shared.items() if value is not None)]
        errors = io.StringIO()
        try:
            with redirect_stderr(errors):  # a long usage; its last line says what is wrong
                config, _ = settings.parse(config_class, flags, spec.script, module.SMOKE, module.__doc__)
        except SystemExit as exit_:
            if not exit_.code:  # --help
                raise
            raise ValueError(f"{spec.label}: {errors.getvalue().strip().rpartition('error: ')[2]}") from None
        config = dataclasses.replace(config, run_name=run_name)
        path = config.run_dir / "config.json"
        saved = json.loads(path.read_text()) if path.exists() else {}
        for name, value in dataclasses.asdict(config).items():
            if saved.get(name, value) != value:
                raise ValueError(
                    f"the run {run_name} has {name}={saved[name]!r}: choose another --name. Received: {name}={value!r}"
                )
        return cls(spec.label, SCRIPTS[spec.script], flags, config)

    def finish(self) -> Path:
        """Have the script train what is not finished; the run's folder."""
        folder, name = self.config.run_dir, self.config.run_name
        if (folder / "metrics.json").exists():
            return folder
        flags = self.flags
        if (folder / "config.json").exists():
            flags = ["--resume", f"--saved-models={self.config.saved_models}", f"--logs={self.config.logs}"]
        print(f"\n{name}: {self.script.name} {shlex.join(flags)}", flush=True)
        done = subprocess.run([sys.executable, self.script, *flags, f"--run-name={name}"])
        if done.returncode:
            sys.exit(f"error: {self.script.name} ended with exit status {done.returncode} in the run {name}")
        return folder


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def steps_within(minutes: float, epochs: int, batch_size: int, calibration: Path) -> int:
    """Steps per epoch that fill a budget of minutes in `epochs` epochs, from the folder of a calibration run."""
    with open(calibration / "log.csv", newline="") as file:
        log = list(csv.DictReader(file))
    first, second = (float(row["seconds"]) for row in log)
    step = batch_size / float(log[1]["images_per_second"])
    validation = max(0.0, second - CALIBRATION["steps_per_epoch"] * step)
    start_up = max(0.0, first - second)
    steps = int(((60 * minutes - start_up) / epochs - validation) / step)
    if steps < 1:
        least = (start_up + epochs * (validation + step)) / 60
        raise ValueError(f"--minutes must be at least {least:.2f} for {calibration.name}. Received: {minutes:g}")
    return steps


def check_comparable(folders: dict[str, Path], data: str, image_shape: tuple[int, int, int], degradation: str | None):
    """Refuse finished runs of other data, image shapes or degradations, or of different numbers of latent values."""
    facts = {}
    for label, folder in folders.items():
        config, report = (json.loads((folder / name).read_text()) for name in ("config.json", "metrics.json"))
        if config.get("mask_ratio"):
            raise ValueError(f"all runs must see whole images, not masked ones. Received: the masked run {label}")
        shape = RunConfig(image_size=config["image_size"], channels=config["channels"]).image_shape
        degraded = f"degradation {config.get('degradation')}"  # older runs have no such setting
        facts[label] = (config["data"], shape, degraded, report["results"]["model"]["latent values"])
    wanted = (data, image_shape, f"degradation {degradation}")
    if len({wanted, *(fact[:3] for fact in facts.values())}) > 1 or len(set(facts.values())) > 1:
        received = "; ".join(f"{label} {', '.join(map(str, fact))}" for label, fact in facts.items())
        raise ValueError(
            f"all runs must have the data {data!r}, the image shape {image_shape}, the degradation {degradation} and "
            f"one number of latent values. Received: {received}"
        )
