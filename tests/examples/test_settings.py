import json
import subprocess
import sys
from pathlib import Path

import pytest
from settings import RunConfig, parse

SCRIPT = Path(__file__).parents[2] / "examples" / "train_vit.py"


def parsed(*argv):
    return parse(RunConfig, list(argv), "model", {"epochs": 2, "batch_size": 4}, "")


def refusal(capsys, *argv):
    with pytest.raises(SystemExit) as exit_:
        parsed(*argv)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_defaults_smoke_and_explicit_settings():
    config, resume = parsed()
    assert (config.epochs, config.batch_size, resume) == (RunConfig.epochs, RunConfig.batch_size, False)
    assert config.run_name.startswith("model-2")
    config, _ = parsed("--smoke", "--epochs", "7", "--image-size", "64x96", "--channels", "1")
    assert (config.epochs, config.batch_size, config.image_shape) == (7, 4, (64, 96, 1))


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--image-size", "big"], "Received: big"),
        (["--image-size", "0"], "Received: 0"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--batch-size", "many"], "invalid int value: 'many'"),
        (["--warmup-steps", "5000"], "Received: 5000"),
        (["--channels", "2"], "invalid choice: 2"),
        (["--resume"], "--resume needs --run-name"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_mistakes_are_named(capsys, argv, message):
    assert message in refusal(capsys, *argv)


def test_resume_takes_the_runs_settings(tmp_path, capsys):
    where = ["--saved-models", str(tmp_path), "--run-name", "a"]
    assert "found no run" in refusal(capsys, *where, "--resume")
    config, _ = parsed(*where, "--epochs", "9")
    config.run_dir.mkdir()
    (config.run_dir / "config.json").write_text(json.dumps({**vars(config)}))
    assert "exists: choose another --run-name" in refusal(capsys, *where)
    assert parsed(*where, "--resume") == (config, True)
    assert "epochs=9. Received: epochs=8" in refusal(capsys, *where, "--resume", "--epochs", "8")
    (config.run_dir / "metrics.json").touch()
    assert "is finished" in refusal(capsys, *where, "--resume")


def test_help_and_mistakes_are_answered_before_the_heavy_imports():
    for argument, code in (("--help", 0), ("--epochs=none", 2)):
        blocked = f"import sys; sys.modules['keras'] = sys.modules['numpy'] = None; sys.argv = ['', {argument!r}]"
        run = f"{blocked}; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_vit; train_vit.main()"
        done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert "invalid int value" in done.stderr
