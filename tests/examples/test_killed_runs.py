"""Runs that are killed, preempted or out of disk: nothing is lost, and no final name holds a part of a file."""

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import train_vit
from examples.tiny_runs import SYSTEMS

import keras_recon

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
SETTINGS = ["--smoke", *SYSTEMS["vit"], "--dropout-rate", "0.1", "--ema-momentum", "0.9"]
SETTINGS += ["--epochs", "36", "--steps-per-epoch", "8"]  # too few for XLA, which would compile anew at each resume
# What is waited for, in the order in which a run comes to it; then the seconds until the kill, at most. Temporary names
# start with a dot: what they stand for is being written.
KILLS = [
    ("config.json", 0.0),
    ("training/.*.step-0.*", 0.0),
    *[("training/.*.best.*", 0.0)] * 3,  # the first epochs are sure to be better
    ("training/.*.best.*", 0.01),
    *[("training/.*.step-*", 0.0), ("training/step-*", 0.1), ("log.csv", 0.2)] * 3,
    (".*.model.keras", 0.0),
    (".*.model.keras", 0.1),
    (".*.savedmodel", 0.0),
    (".*.savedmodel", 0.5),
    (".*.savedmodel", 1.5),
    (".*.savedmodel/variables", 0.0),
    ("parity.json", 0.0),
    ("parity.json", 0.1),
]


class Run:
    """The folder of a run, and processes that train it."""

    def __init__(self, folder: Path, name: str):
        self.folder = folder / "models" / name
        folders = ["--saved-models", str(folder / "models"), "--logs", str(folder / "runs")]
        self.command = [sys.executable, train_vit.__file__, *folders, "--run-name", name]

    def start(self, *more):
        more = more or (["--resume"] if (self.folder / "config.json").exists() else SETTINGS)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.command, *more], env=environment, **pipes)

    def start_and_wait_for(self, pattern: str):
        """A process that is at the first file of a name that was not there, or was written anew."""
        before = self._found(pattern)
        process = self.start()
        while not self._found(pattern) - before:
            assert process.poll() is None, f"it ended before {pattern}: {process.stderr.read()[-2000:]}"
            time.sleep(2e-4)
        return process

    def _found(self, pattern):
        found = set()
        for path in self.folder.glob(pattern):
            try:
                found.add((path.name, path.stat().st_mtime_ns))
            except FileNotFoundError:  # it took its name
                found.add((path.name, None))
        return found

    def check_files(self):
        """Every file under a final name is whole."""
        for path in self.folder.rglob("*"):
            if any(part.startswith(".") for part in path.relative_to(self.folder).parts):
                continue
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".keras":
                assert zipfile.ZipFile(path).testzip() is None
                keras_recon.load_model(path)
            elif path.suffix == ".h5":
                with h5py.File(path) as file:
                    file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
            elif path.name == "log.csv":
                with open(path, newline="") as file:
                    assert all(None not in row.values() for row in csv.DictReader(file))
            elif path.name == "savedmodel":
                assert {"saved_model.pb", "variables"} <= {p.name for p in path.iterdir()}

    def weights(self):
        return keras_recon.load_model(self.folder / "model.keras").get_weights()

    def check_equal(self, whole: "Run"):
        """It ended, and as the other run did."""
        self.check_files()
        assert not [path for path in self.folder.rglob(".*")] and not (self.folder / "training").exists()
        for a, b in zip(whole.weights(), self.weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        results = [json.loads((run.folder / "metrics.json").read_text())["results"] for run in (whole, self)]
        for result in results:
            del result["model"]["seconds"]
        assert results[0] == results[1]
        epochs = [len((run.folder / "log.csv").read_text().splitlines()) for run in (whole, self)]
        assert epochs == [37, 37]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("whole"), "whole")
    assert run.start().wait() == 0
    return run


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path, whole):
    run, rng = Run(tmp_path, "killed"), random.Random(0)
    for pattern, delay in KILLS:
        process = run.start_and_wait_for(pattern)
        time.sleep(rng.uniform(0, delay))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, pattern
        run.check_files()
    assert len(KILLS) >= 20
    assert run.start().wait() == 0
    run.check_equal(whole)


@pytest.mark.slow
def test_a_run_that_is_preempted_or_cancelled_says_how_to_go_on(tmp_path, whole):
    run = Run(tmp_path, "ended")
    for number, status in [(signal.SIGTERM, 75), (signal.SIGINT, 130)] * 2:
        process = run.start_and_wait_for("training/step-*")
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == status
        assert f"{number.name} after" in errors and "--run-name ended" in errors.splitlines()[-1]
        run.check_files()
    for number, status in [(signal.SIGTERM, 75), (signal.SIGINT, 130)]:  # behind the training
        process = run.start_and_wait_for(".*.savedmodel")
        process.send_signal(number)
        _, errors = process.communicate()
        run.check_files()
        assert not list(run.folder.glob(".*")) and process.returncode == status
        assert errors.splitlines()[-1].startswith("ended; to go on: python ")
    assert run.start().wait() == 0
    run.check_equal(whole)


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_the_backup(tmp_path, whole):
    run = Run(tmp_path, "full")
    for pattern in ("training/best*", "training/step-*", ".*.savedmodel"):  # the first epochs are sure to be better
        process = run.start_and_wait_for(pattern)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        _, errors = process.communicate()
        assert process.returncode == 2, errors
        last = errors.splitlines()[-1]
        assert last.startswith("error: ") and str(run.folder) in last and "File too large" in last
        run.check_files()
        assert list((run.folder / "training").glob("step-*"))
    assert run.start().wait() == 0
    run.check_equal(whole)


@pytest.mark.slow
def test_a_second_process_refuses_the_run_of_the_first(tmp_path):
    run = Run(tmp_path, "twice")
    first = run.start_and_wait_for("config.json")
    second = run.start()
    _, errors = second.communicate()
    assert second.returncode == 2
    assert errors.splitlines()[-1] == "error: the run 'twice' is going on in another process"
    first.kill()
    first.wait()


def test_a_folder_that_takes_no_files_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_:
        train_vit.main(["--smoke", *SYSTEMS["vit"], "--saved-models", str(tmp_path / "file"), "--run-name", "a"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and str(tmp_path / "file" / "a") in error
