import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import reconstruct_cluster
from contracts import random_images
from PIL import Image

from keras_recon.models import ConvAutoencoder

pytest.importorskip("ray", reason="the cluster's engine is an extra")
PHOTOS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    ConvAutoencoder((16, 16, 3), latent_dim=4, filters=(4,)).save(folder / "model.keras")
    for i, image in enumerate(random_images(PHOTOS, 300, 400, 3)):
        path = folder / "photos" / f"part{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).astype("uint8")).save(path)
    return folder


def workers():
    """The processes that have a model, by their title."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::MapWorker(Map(Worker))" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def run(folder, output, *more, kill=False):
    script = Path(reconstruct_cluster.__file__)
    command = [sys.executable, script, folder / "photos", "--model", folder / "model.keras", "--output", output, *more]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = []
    while kill and not killed and process.poll() is None:
        if list(output.rglob("*.png")):  # it is at work
            killed = workers()[:1]
            for number in killed:
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)
    printed, errors = process.communicate(timeout=400)
    assert not kill or killed, "it ended before a worker could be killed"
    return process.returncode, printed, errors


@pytest.mark.parametrize("kill", [False, True])
def test_no_photo_is_lost_or_done_twice(folder, tmp_path, kill):
    code, printed, errors = run(folder, tmp_path / "out", "--degradation", "noise:25", kill=kill)
    assert code == 0, errors
    names = sorted(str(path.relative_to(folder / "photos")) for path in (folder / "photos").rglob("*.png"))
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")) == names
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == names
    assert f"{PHOTOS} photos in" in printed
    for path in (tmp_path / "out").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (400, 300) and np.ptp(np.asarray(image)) > 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["results"]["psnr"] > 5


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_done(folder, tmp_path):
    broken = folder / "photos" / "broken.png"
    broken.write_text("no image")
    code, _, errors = run(folder, tmp_path / "out")
    broken.unlink()
    assert code == 1 and "error: broken.png: " in errors
    assert len(list((tmp_path / "out").rglob("*.png"))) == PHOTOS


@pytest.mark.parametrize("more, message", [(["--workers", "0"], "workers=0"), (["--output", "-"], "takes -")])
def test_mistakes_are_said_at_once(folder, capsys, more, message):
    with pytest.raises(SystemExit) as exit_:
        reconstruct_cluster.main([str(folder / "photos/part0/0.png"), "--model", str(folder / "model.keras"), *more])
    assert exit_.value.code == 2 and message in capsys.readouterr().err
