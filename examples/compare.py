"""Compare models on the same images: finished runs, presets, and models that are trained under one protocol.

A SPEC is the folder of a finished run (saved_models/kodak), a preset of the package (preset:vit), or the name of a
training script with its flags in one string ("autoencoder --normalization group" for train_autoencoder.py). A prefix
"label=" names the row. An interrupted comparison continues when the same command is started again.
"""

import argparse
import dataclasses
import math
import signal
import sys
from pathlib import Path

import numpy as np
from app import settings
from app.evaluated import crops, photos_of, validation_crops
from app.jobs import CALIBRATION, SHARED, Job, Spec, check_comparable, check_held_out, steps_within
from app.parser import Parser, fail
from app.quiet import quiet_start
from app.settings import RunConfig

from keras_recon.utils.run import Run, data_of

BATCH = 64
OTHER_ROWS = ("original", "pca", "mean", "input", "jpeg", "webp", "avif")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The command line: its arguments, the rows, and the settings of all runs."""

    args: argparse.Namespace
    specs: list[Spec]
    shared: dict

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return RunConfig(image_size=self.shared["image_size"], channels=self.shared["channels"]).image_shape

    def check(self, folders: dict[str, Path]):
        """Raise a ValueError if finished runs, by label, do not fit the settings or each other."""
        data = None if self.args.eval else data_of(self.shared)
        check_comparable(folders, self.image_shape, self.shared["degradation"], data)

    def presets(self) -> dict:
        """Load the models of presets, by label, for the shape of the images."""
        with quiet_start():
            from keras_recon import load_model

        models = {spec.label: load_model(spec.preset) for spec in self.specs if spec.preset}
        for label, model in models.items():
            if model.upscale > 1:
                raise ValueError(f"a model must not enlarge, to be compared. Received: the preset {label}")
            if model.image_shape != self.image_shape:
                models[label] = model.for_image_shape(self.image_shape)
        return models

    def check_perceptual(self):
        """Load the network of --perceptual early, because it is needed last."""
        if self.args.perceptual:
            from keras_recon.evaluation.scores import perceptual_scores

            gray = np.full((1, *self.image_shape), 0.5, "float32")
            perceptual_scores(lambda images: images, [(gray, gray)], self.args.perceptual)

    def trainings(self, steps_per_epoch: dict[str, int]) -> list[Job]:
        """Return a run per seed and training script, in the order of the seeds."""
        return [
            Job.of(
                spec,
                f"{self.args.name}/{spec.label}-seed{seed}",
                {**self.shared, "steps_per_epoch": steps_per_epoch[spec.label], "seed": seed},
            )
            for seed in self.args.seeds
            for spec in self.specs
            if spec.script
        ]

    def calibrations(self) -> list[Job]:
        """Return a short run per training script, which measures the seconds of its start and of a step."""
        shared = {**self.shared, **CALIBRATION, "seed": self.args.seeds[0]}
        scripts = [spec for spec in self.specs if spec.script]
        return [Job.of(spec, f"{self.args.name}/{spec.label}-calibration", shared) for spec in scripts]


def parse(argv: list[str] | None) -> tuple[Plan, list[Job]]:
    """Return the plan and the first runs: calibrations for a budget of minutes, otherwise the trainings."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "specs",
        nargs="+",
        metavar="SPEC",
        help="a finished run's folder, preset:NAME, or a training script and its flags",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="training steps of a run")
    budget.add_argument("--minutes", type=float, help="training time of a run; a short run before tells the steps")
    add("--seeds", type=int, nargs="+", default=[0], help="a run of each training script for each (default: 0)")
    add("--eval", type=Path, help="folder or CSV file of photos to evaluate on; the validation crops if not given")
    add("--eval-target", type=Path, help="folder of the clean photos of --eval, for runs on pairs")
    add("--stride", type=int, default=128, help="pixels between the crops of --eval (default: %(default)s)")
    add("--perceptual", metavar="PRESET", help="columns of how rows look to this backbone, as hf://... or folder:1,3,5")
    add("--name", default="comparison", help="name of the results' folders (default: %(default)s)")
    group = parser.add_argument_group("settings of every run", "What is not given is as in the first SPEC's folder.")
    for field in dataclasses.fields(RunConfig):
        if field.name in (*SHARED, "epochs"):
            settings.add_setting(group, field)
    args = parser.parse_args(argv)
    try:
        return _plan(args)
    except ValueError as error:
        parser.error(str(error))


def _plan(args):
    specs = [Spec.parse(text) for text in args.specs]
    labels = [spec.label for spec in specs]
    if len({*labels, *OTHER_ROWS}) < len(labels) + len(OTHER_ROWS):
        raise ValueError(f"labels must differ, also from {', '.join(OTHER_ROWS)}. Received: {', '.join(labels)}")
    for name in ("steps", "minutes", "epochs", "stride"):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise ValueError(f"--{name} must be above 0. Received: {getattr(args, name)}")
    if args.eval and not args.eval.exists():
        raise ValueError(f"--eval must be a folder of photos. Received: {args.eval}")
    finished = {spec.label: spec.folder for spec in specs if spec.folder}
    defaults = dataclasses.asdict(RunConfig())
    if finished:
        saved = Run(next(iter(finished.values()))).config
        names = saved.keys() & defaults.keys() - {"saved_models", "logs"}  # older runs lack newer settings
        defaults |= {name: saved[name] for name in names}
    given = {name: getattr(args, name) for name in (*SHARED, "epochs")}
    shared = {name: defaults[name] if value is None else value for name, value in given.items()}
    plan = Plan(args, specs, shared)
    plan.check(finished)
    if args.minutes:
        return plan, plan.calibrations()
    steps = args.steps or defaults["epochs"] * defaults["steps_per_epoch"]
    if steps % shared["epochs"]:
        raise ValueError(f"--steps must be a multiple of the {shared['epochs']} --epochs. Received: {steps}")
    return plan, plan.trainings(dict.fromkeys(labels, steps // shared["epochs"]))


def main(argv: list[str] | None = None):
    plan, jobs = parse(argv)
    args, shared = plan.args, plan.shared
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the current training too, like Ctrl-C
    runs = {spec.label: [spec.folder] if spec.folder else [] for spec in plan.specs if not spec.preset}
    try:
        presets = plan.presets()
        plan.check_perceptual()
        if args.minutes:
            calibrated = {job.label: job.finish() for job in jobs}
            budget = (args.minutes, shared["epochs"], shared["batch_size"])
            jobs = plan.trainings({label: steps_within(*budget, folder) for label, folder in calibrated.items()})
        for job in jobs:
            runs[job.label].append(job.finish())
            first = {label: folders[0] for label, folders in runs.items() if folders}
            plan.check(first)
    except ValueError as error:
        fail(error)
    compare(plan, {label: [Run(folder) for folder in folders] for label, folders in runs.items()}, presets)


def compare(plan: Plan, runs: dict[str, list[Run]], presets: dict):
    """Evaluate finished runs and presets, then write and print the results."""
    with quiet_start():  # slow imports
        from keras_recon import data, degradations
        from keras_recon.evaluation import comparison, report

    args, shared, shape = plan.args, plan.shared, plan.image_shape
    degradation = degradations.get(shared["degradation"])
    try:
        training, validation = settings.load_photos(shared, "skip", Path(shared["saved_models"], args.name))
        training, validation = (photos.for_upscale(1) for photos in (training, validation))
        paired = validation.is_paired
        if not args.eval:
            check_held_out(runs, validation)
        validation = data.validation_batches(validation, shape, BATCH, degradation=degradation)
        validation = list(validation.as_numpy_iterator())
        evaluated = photos_of(args, shape, paired) if args.eval else validation_crops(validation)
    except (ValueError, RuntimeError) as error:
        fail(error)
    print(f"\nComparing on {crops(evaluated.images)} ...", flush=True)
    fitting = _fitting_batches(plan, training, runs)
    try:
        measured = comparison.compare(
            runs,
            evaluated.images,
            evaluated.groups,
            fitting,
            validation,
            degradation,
            presets,
            evaluated.inputs if paired else None,
            args.perceptual,
        )
    except ValueError as error:
        fail(error)
    sources = {label: data_of(seeds[0].config) or "photos as given" for label, seeds in runs.items()}
    protocol = {
        "training data": sources if len(set(sources.values())) > 1 else next(iter(sources.values()), data_of(shared)),
        **({"presets": f"{', '.join(presets)}: trained on other photos, see their cards"} if presets else {}),
        "pca": f"fitted to crops of the training photos of {shared['data']}, to at least as many as the linear path of "
        "any run; patches as large as the largest of the models",
        **({"perceptual distance by": args.perceptual} if args.perceptual else {}),
        "degradation": "as in the pairs" if paired else shared["degradation"] or "none",
        "intervals": f"over {evaluated.unit}, which are drawn with replacement",
        "budget of a training": f"{args.minutes:g} minutes" if args.minutes else "the steps of the rows",
        "seeds": {label: [run.config["seed"] for run in of_label] for label, of_label in runs.items()},
    }
    folder, log_dir = Path(shared["saved_models"], args.name), Path(shared["logs"], args.name)
    report.write_comparison(measured, runs, folder, log_dir, evaluated.crops, protocol)
    print(f"\n{report.summary(measured, evaluated.crops)}\n")
    for path in sorted(folder.glob("[!.]*.*")):
        print(path)
    print(f"tensorboard --logdir {shared['logs']}")


def _fitting_batches(plan, training, runs):
    """Return the crops for PCA: at least as many as the linear path of any run was fitted to."""
    from keras_recon.training.options import TrainingOptions
    from keras_recon.training.train import fitting_batches

    configs = [run.config for seeds in runs.values() for run in seeds]
    crops = max((config["batch_size"] * config["steps_per_epoch"] for config in configs), default=BATCH)
    options = TrainingOptions(
        batch_size=BATCH, steps_per_epoch=math.ceil(crops / BATCH), degradation=plan.shared["degradation"]
    )
    return fitting_batches(training, plan.image_shape, options)


if __name__ == "__main__":
    main()
