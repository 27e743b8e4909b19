import os
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import demo
import pytest
import skimage.data
from contracts import random_images
from models.test_vit import TINY
from PIL import Image

from keras_recon.models import ViTReconstructor


def test_it_needs_a_model(tmp_path, capsys):
    with pytest.raises(SystemExit):
        demo.parse(["--saved-models", str(tmp_path)])
    assert f"Received: {tmp_path}" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path):
    """Address of a demo with the model `group/tiny`."""
    pytest.importorskip("gradio", reason="in the extra `demo`")
    model = ViTReconstructor(**TINY)
    model.adapt(random_images(20, 16, 16, 3))
    (tmp_path / "group" / "tiny").mkdir(parents=True)
    model.save(tmp_path / "group" / "tiny" / "model.keras")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--saved-models", tmp_path, "--port", str(port), "--max-megapixels", "0.1"]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    process = subprocess.Popen([sys.executable, demo.__file__, *options], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "it ended before it could be asked"
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_photo_is_dropped_degraded_and_reconstructed_in_a_browser(tmp_path, server):
    sync_api = pytest.importorskip("playwright.sync_api", reason="drives the browser")
    if not shutil.which("chromium"):
        pytest.skip("there is no chromium")
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.fromarray(skimage.data.coffee()).save(large)
    Image.fromarray(skimage.data.coffee()[:100, :150]).save(small)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        loaded = []

        def drop(photo, degradation):
            page = browser.new_page(viewport={"width": 1300, "height": 1100})
            page.on("requestfinished", lambda request: loaded.append(request.url))
            page.set_default_timeout(120_000)  # the first one waits for the model
            page.goto(server)
            page.locator("input[type=file]").first.set_input_files(photo)
            page.locator("img[src*='/file=']").wait_for()
            page.get_by_label("Degradation").fill(degradation)
            page.get_by_role("button", name="Reconstruct").click()
            return page

        page = drop(small, "noise:25")
        figures = page.get_by_text("compression ratio")
        figures.wait_for()
        reconstructed, degraded = re.findall(r"([\d.]+) dB", figures.text_content())
        assert float(reconstructed) > 10 and 19 < float(degraded) < 23  # noise of 25/255 has 20.2 dB before clipping
        assert "16x16x3 becomes 4x4x5" in figures.text_content() and "ratio 9.6" in figures.text_content()
        page.locator("img[src*='/file=']").nth(3).wait_for()  # the photo, both sides of the slider, the error map
        drop(small, "fog:3").get_by_text("must be some of noise:SIGMA").wait_for()
        drop(large, "").get_by_text("at most 0.1 megapixels. Received: 600x400 pixels").wait_for()
        browser.close()
    assert loaded and all(url.startswith((server, "data:", "blob:")) for url in loaded)  # nothing from elsewhere
