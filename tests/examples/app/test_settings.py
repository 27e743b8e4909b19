from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from app.settings import TRAINING, RunConfig, option, parse

from keras_recon import TrainingOptions


@dataclass(frozen=True)
class ModelConfig(RunConfig):
    patch_size: int | None = option(None, "")
    latent_dim: int = option(12, "")
    dropout_rate: float = option(0.0, "")


def parsed(*argv, config_class=ModelConfig):
    return parse(config_class, list(argv), "model", "")


def refusal(capsys, *argv, **kwargs):
    with pytest.raises(SystemExit) as exit_:
        parsed(*argv, **kwargs)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()  # without the usage
    return line


def test_every_option_of_a_training_has_a_flag_but_two():
    options = {field.name for field in fields(TrainingOptions)}
    assert options - set(TRAINING) == {"backbone_scale", "fit_linear_path"} and set(TRAINING) <= options


def test_defaults_smoke_and_explicit_settings():
    config, resume = parsed()
    assert (config.epochs, config.batch_size, resume) == (RunConfig.epochs, RunConfig.batch_size, False)
    assert config.run_name.startswith("model-2")
    config, _ = parsed("--smoke", "--epochs", "7", "--image-size", "64x96", "--channels", "1")
    assert (config.epochs, config.batch_size, config.image_shape) == (7, 4, (64, 96, 1))


def test_the_warm_up_fits_into_short_runs():
    for steps, expected in ((5, 5), (1000, 100)):
        assert parsed("--epochs", "2", "--steps-per-epoch", str(steps))[0].used_warmup_steps == expected


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--image-size", "big"], "--image-size must be as 64 or 64x96. Received: image_size='big'"),
        (["--image-size", "0"], "Received: image_size='0'"),
        (["--image-size", "64x"], "Received: image_size='64x'"),
        (["--epochs", "0"], "--epochs must be at least 1. Received: epochs=0"),
        (["--batch-size", "many"], "invalid int value: 'many'"),
        (["--warmup-steps=-1"], "--warmup-steps must be at least 0. Received: warmup_steps=-1"),
        (["--learning-rate", "nan"], "--learning-rate must be finite, from 0. Received: learning_rate=nan"),
        (["--learning-rate=-1e-3"], "Received: learning_rate=-0.001"),
        (["--weight-decay", "inf"], "Received: weight_decay=inf"),
        (["--ema-momentum", "1"], "--ema-momentum must be from 0 to below 1. Received: ema_momentum=1.0"),
        (["--seed=-1"], "Received: seed=-1"),
        (["--adversarial=-1"], "--adversarial must be finite, from 0. Received: adversarial=-1.0"),
        (["--adversarial", "0.1"], "--adversarial must be 0 without --init, whose model it makes look right. Received"),
        (["--data", "n" * 300], "--data must be 'sample', 'tfds:NAME', a CSV file of pairs or a folder"),
        (["--data", "sample", "--target", "n" * 300], "--target must be a folder of images that is there"),
        (["--data", "nowhere"], "a folder of images that is there. Received: data='nowhere'"),
        (
            ["--val-data", "nowhere"],
            "--val-data must be a CSV file of pairs or a folder of images that is there. Received: val_data='nowhere'",
        ),
        (["--resize", "0"], "--resize must be at least 1. Received: resize=0"),
        (["--data", "tfds:"], "Received: data='tfds:'"),
        (["--dropout-rate", "1"], "Received: dropout_rate=1.0"),
        (["--latent-dim", "0"], "Received: latent_dim=0"),
        (["--patch-size", "0"], "Received: patch_size=0"),
        (["--patch-size", "8", "--image-size", "64x20"], "height and width (64 and 20). Received: patch_size=8"),
        (["--channels", "2"], "invalid choice: 2"),
        (["--distribute", "gpus"], "--distribute must be none, data or model:N. Received: distribute='gpus'"),
        (["--base-batch-size", "0"], "--base-batch-size must be at least 1. Received: base_batch_size=0"),
        (["--resume"], "--resume needs --run-name"),
        (["--epocks", "3"], "unrecognized arguments: --epocks 3; did you mean --epochs?"),
        (["--nonsense"], "unrecognized arguments: --nonsense (--help lists all)"),
    ],
)
def test_mistakes_are_named(capsys, argv, message):
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize("name", ["/a", "../a", "a/../b", "a//b", "a/", "./a", ".a", "a\n", "a b", "a\\b"])
def test_names_that_lead_elsewhere_are_refused(capsys, name):
    assert f"Received: run_name={name!r}" in refusal(capsys, "--run-name", name)


@pytest.mark.parametrize("name", ["a", "comparison/vit-seed0", "vit+l1_2.5", "größer"])
def test_names_may_group_runs(name):
    assert parsed("--run-name", name)[0].run.folder == Path("saved_models", name)


def test_resume_takes_the_runs_settings(tmp_path, capsys):
    where = ["--saved-models", str(tmp_path), "--run-name", "a"]
    assert "found no run" in refusal(capsys, *where, "--resume")
    config, _ = parsed(*where, "--epochs", "9")
    config.run.begin(vars(config))
    assert "exists: choose another --run-name" in refusal(capsys, *where)
    assert parsed(*where, "--resume") == (config, True)
    assert "epochs=9. Received: epochs=8" in refusal(capsys, *where, "--resume", "--epochs", "8")
    assert "of a run of this script" in refusal(capsys, *where, "--resume", config_class=RunConfig)
    config.run.finish({}, {})
    assert "is finished" in refusal(capsys, *where, "--resume")
    for damaged in ("", "[1]", "{", "{}"):
        (config.run.folder / "config.json").write_text(damaged)
        assert f"Received: {config.run.folder}" in refusal(capsys, *where, "--resume")
