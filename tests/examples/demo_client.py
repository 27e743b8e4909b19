"""A running demo page, asked over HTTP as its own JavaScript asks it."""

import io
import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
from contracts import random_images
from models.test_vit import TINY
from PIL import Image

from keras_recon.images.pixels import from_float
from keras_recon.inference import reconstruct
from keras_recon.models import ViTReconstructor


class Server(NamedTuple):
    """A running demo: its address, process and folder, with the uploads in `uploads/`."""

    address: str
    pid: int
    folder: Path

    def post(self, path, **kwargs):
        import httpx

        return httpx.post(self.address + path, timeout=60, **kwargs)

    def upload(self, data: bytes, name: str) -> str:
        """The path that the server keeps the file under."""
        (path,) = self.post("/gradio_api/upload", files={"files": (name, data)}).raise_for_status().json()
        return path

    def ask(self, photo: str | dict | None, model: str = "group/tiny", degradation: str = "") -> list:
        """The outputs for an uploaded photo, or another value of the image's."""
        import httpx

        image = {"path": photo, "meta": {"_type": "gradio.FileData"}} if isinstance(photo, str) else photo
        joined = self.post("/gradio_api/call/reconstruct", json={"data": [image, model, degradation]})
        if joined.status_code != 200:
            raise Refused(joined.text)
        url = f"{self.address}/gradio_api/call/reconstruct/{joined.json()['event_id']}"
        with httpx.stream("GET", url, timeout=120) as answer:
            text = answer.read().decode()
        event, data = re.findall(r"event: (complete|error)\ndata: (.*)", text)[-1]
        if event == "error":
            raise Refused(data)
        return json.loads(data)

    def picture(self, file: dict) -> np.ndarray:
        with urlopen(f"{self.address}/gradio_api/file={file['path']}") as answer:
            return np.asarray(Image.open(io.BytesIO(answer.read())))


def tiny_model() -> ViTReconstructor:
    """What the demo under test serves: a PCA."""
    model = ViTReconstructor(**TINY)
    model.adapt(random_images(20, 16, 16, 3))
    return model


class Refused(Exception):
    """An error that the page shows."""


def png(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return buffer.getvalue()


def check_answer(server, model, photo, outputs):
    """That the outputs are those of this photo."""
    (given, output), _, figures = outputs
    assert "compression ratio 9.6" in figures
    np.testing.assert_array_equal(server.picture(given), photo)
    expected = from_float(reconstruct(model, photo / np.float32(255)), np.uint8).astype(int)
    assert np.abs(server.picture(output) - expected).max() <= 1


def peak_memory(pid: int) -> int:
    """MiB."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024
