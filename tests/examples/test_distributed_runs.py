import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from examples.tiny_runs import tiny

from keras_recon import load_model

BACKEND = keras.backend.backend()
pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")
PROCESS = Path(__file__).with_name("distributed_run.py")


def start(folder, name, *more, script="train_vit", devices=1, environment=None):
    """Begin a run; the rates below are low, as Adam turns the rounding of tiny gradients into whole steps."""
    command = [sys.executable, PROCESS, script, devices, *tiny(script.removeprefix("train_"), folder, name, *more)]
    return subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, "KERAS_BACKEND": BACKEND, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    errors = [process.communicate(timeout=400)[1] for process in processes]
    for process, error in zip(processes, errors):
        assert process.returncode == 0, error[-3000:]


def start_two(folder, name, *more):
    """Two processes on loopback, with a device each."""
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        addresses = ",".join(f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second))
    shared = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": addresses, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    shared["OMP_NUM_THREADS"] = "1"  # PyTorch's threads would spin for a core that the other process has
    return [
        start(folder, name, *more, environment={**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)}) for i in range(2)
    ]


def check_same_run(run, expected):
    """The same curves and weights to 1e-5, and a whole run's files, written once."""
    assert {path.name for path in run.iterdir()} == {path.name for path in expected.iterdir()}
    logs = []
    for path in (expected, run):
        with open(path / "log.csv", newline="") as file:
            logs.append(list(csv.DictReader(file)))
    assert len(logs[0]) == len(logs[1])
    for row, other in zip(*logs):
        for score in ("loss", "psnr", "ssim", "val_loss", "val_psnr", "val_ssim"):
            assert float(other[score]) == pytest.approx(float(row[score]), rel=1e-4), score
    weights, others = (load_model(path / "model.keras").get_weights() for path in (expected, run))
    assert any(np.ptp(w) for w in weights)
    for weight, other in zip(weights, others):
        np.testing.assert_allclose(other, weight, atol=1e-5)
    assert json.loads((run / "metrics.json").read_text())["results"]["model"]["psnr"] == pytest.approx(
        json.loads((expected / "metrics.json").read_text())["results"]["model"]["psnr"], abs=1e-3
    )


KINDS = [("train_vit", "data"), ("train_vit", "model:2") if BACKEND == "jax" else ("train_autoencoder", "data")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process on one device that the others are compared with."""
    folder = tmp_path_factory.mktemp("alone")
    finish(start(folder, "one", "--learning-rate", "1e-4", "--epochs", "4"))
    return folder / "models" / "one"


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="under torch, a process has one device")
@pytest.mark.parametrize("script, kind", KINDS)
def test_two_devices_train_what_one_trains(tmp_path, script, kind):
    finish(start(tmp_path, "one", "--learning-rate", "1e-4", script=script))
    finish(start(tmp_path, "two", "--learning-rate", "1e-4", "--distribute", kind, script=script, devices=2))
    check_same_run(tmp_path / "models" / "two", tmp_path / "models" / "one")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, alone):
    finish(*start_two(tmp_path, "two", "--learning-rate", "1e-4", "--epochs", "4", "--distribute", "data"))
    check_same_run(tmp_path / "models" / "two", alone)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path, alone):
    more = ["--learning-rate", "1e-4", "--epochs", "4", "--distribute", "data", "--steps-per-epoch", "3"]
    processes = start_two(tmp_path, "two", *more)
    run = tmp_path / "models" / "two"
    while not (run / "training" / "step-3.weights.h5").exists():
        assert processes[0].poll() is None, processes[0].communicate()[1][-3000:]
    for process in processes:
        process.kill()
        process.communicate()
    assert (run / "training" / "step-3.weights.h5").exists() and not (run / "model.keras").exists()
    finish(start(tmp_path, "two", "--resume", "--distribute", "none"))
    check_same_run(run, alone)
