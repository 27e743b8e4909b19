import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import demo
import numpy as np
import pytest
import skimage.data
from examples.demo_client import Refused, Server, check_answer, peak_memory, png, tiny_model
from PIL import Image


def refusal(capsys, function, *arguments):
    with pytest.raises(SystemExit) as exit_:
        function([*map(str, arguments)])
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_mistakes_are_said_at_once(tmp_path, capsys):
    assert f"Received: {tmp_path}/no" in refusal(capsys, demo.parse, "--saved-models", tmp_path / "no")
    text = refusal(capsys, demo.parse, "--saved-models", tmp_path, "--max-seconds", "0")
    assert text == "error: --max-seconds must be above 0. Received: 0.0"


def test_it_needs_a_free_port(tmp_path, capsys, model):
    pytest.importorskip("gradio", reason="in the extra `demo`")
    model.save(tmp_path / "model.keras")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = refusal(capsys, demo.main, "--saved-models", tmp_path, "--port", port)
    assert text == f"error: --host and --port must be free to listen at. Received: 127.0.0.1:{port}"


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    """Address of a demo with the model `group/tiny`."""
    pytest.importorskip("gradio", reason="in the extra `demo`")
    tmp_path = tmp_path_factory.mktemp("server")
    (tmp_path / "group" / "tiny").mkdir(parents=True)
    model.save(tmp_path / "group" / "tiny" / "model.keras")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--saved-models", tmp_path, "--port", str(port), "--max-megapixels", "0.1", "--max-megabytes", "1"]
    options += ["--max-waiting", "8"]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    process = subprocess.Popen([sys.executable, demo.__file__, *options], env=environment, cwd=tmp_path)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "it ended before it could be asked"
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield Server(address, process.pid, tmp_path)
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
            page.goto(server.address)
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
    assert loaded and all(
        url.startswith((server.address, "data:", "blob:")) for url in loaded
    )  # nothing from elsewhere


def test_bad_requests_are_refused_and_the_next_is_answered(server, model):
    photo = skimage.data.coffee()[:40, :50]
    good = server.upload(png(photo), "good.png")
    for content, name in ((b"text", "photo.png"), (png(photo)[:200], "cut.png"), (b"<svg/>", "a.svg"), (b"", "a.jpg")):
        with pytest.raises(Refused, match="Cannot read the photo: "):
            server.ask(server.upload(content, name))
    large = server.upload(png(np.zeros((4000, 4000, 3), "uint8")), "large.png")
    for arguments, message in (
        ((large,), "at most 0.1 megapixels"),
        ((None,), "Drop a photo first"),
        ((good, "../group/tiny"), "not in the list of choices"),
        ((good, "group/tiny", "fog:3"), "must be some of"),
        ((good, "group/tiny", "motion:99999"), "at most 64 pixels"),
        ((good, "group/tiny", "mask:0.5:99999"), "at most 64 pixels"),
        ((good, "group/tiny", "+".join(["gray"] * 5)), "at most 4 terms"),
    ):
        with pytest.raises(Refused, match=message):
            server.ask(*arguments)
    check_answer(server, model, photo, server.ask(good))


def test_large_requests_and_ways_around_the_queue_are_refused(server):
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    assert server.post("/gradio_api/upload", files={"files": ("a.png", png(pixels))}).status_code == 413
    data = {"data": [{"url": "data:image/png;base64," + "A" * 3_000_000}, "group/tiny", ""]}
    assert server.post("/gradio_api/call/reconstruct", json=data).status_code == 413
    assert server.post("/gradio_api/upload", content=iter([b"of no told length"])).status_code == 411
    assert server.post("/gradio_api/run/reconstruct", json={"data": [None, "group/tiny", ""]}).status_code == 404


def test_paths_stay_in_the_folder_of_uploads(server, tmp_path):
    httpx = pytest.importorskip("httpx")
    photo, secret = png(skimage.data.coffee()[:40, :50]), tmp_path / "secret.png"
    secret.write_bytes(photo)
    before = set(server.folder.rglob("*"))
    for name in ("../../evil.png", "/tmp/evil.png", "..\\..\\evil.png", "%2e%2e%2fevil.png"):
        assert Path(server.upload(photo, name)).is_relative_to(server.folder / "uploads")
    assert all(path.is_relative_to(server.folder / "uploads") for path in set(server.folder.rglob("*")) - before)
    up = "/".join([".."] * 12)
    model = server.folder / "group" / "tiny" / "model.keras"
    uploads = server.folder / "uploads"
    for path in ("/etc/passwd", secret, model, f"{up}/etc/passwd", f"{uploads}/{up}{secret}", "group/tiny/model.keras"):
        for prefix in ("/gradio_api/file=", "/file=", "/static/", "/assets/", "/gradio_api/proxy="):
            for text in (str(path), str(path).replace("..", "%2e%2e"), str(path).replace("/", "%2f")):
                answer = httpx.get(server.address + prefix + text)
                assert answer.status_code >= 400, (prefix, text)
        for image in (str(path), {"path": str(path)}):
            with pytest.raises(Refused):
                server.ask(image)
    (uploads / "link.png").symlink_to(secret)
    assert httpx.get(f"{server.address}/gradio_api/file={uploads}/link.png").status_code == 403


def test_it_fetches_no_urls(server):
    httpx = pytest.importorskip("httpx")
    asked = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}/photo.png"
        answer = httpx.get(f"{server.address}/gradio_api/file={url}")
        assert answer.status_code == 403 and not answer.content  # Gradio would look at the address
        for image in (url, {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}):
            with pytest.raises(Refused):
                server.ask(image)
        other.shutdown()
    assert not asked
    # Gradio would ask this one, as it is a public address. It does not get the request.
    file = {"path": "https://example.com/photo.png", "meta": {"_type": "gradio.FileData"}}
    for path in ("call/reconstruct", "queue/join", "run/reconstruct", "component_server"):
        for value in (file, {"data": [file]}, [[{"image": file}]]):
            answer = server.post(f"/gradio_api/{path}", json={"data": [value, "group/tiny", ""], "fn_index": 2})
            assert answer.status_code == 403 and not answer.content
    escaped = b'{"data": [{"path": "https:\\/\\/example.com/photo.png"}, "group/tiny", ""]}'
    for body in (escaped, escaped.decode().encode("utf-16"), b"no JSON", b"[" * 100_000):
        assert server.post("/gradio_api/call/reconstruct", content=body).status_code == 403


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from Linux's /proc")
def test_of_many_clients_at_once_none_is_lost(server, model):
    """Each has a photo of its own, and its answer or, with eight already waiting, a word to come again."""
    rng, clients = np.random.default_rng(0), 24
    photos = [rng.integers(0, 256, (100 + i, 150 - i, 3), dtype=np.uint8) for i in range(clients)]
    check_answer(server, model, photos[0], server.ask(server.upload(png(photos[0]), "first.png")))
    before, answers, busy = peak_memory(server.pid), [None] * clients, [0] * clients

    def client(i):
        path = server.upload(png(photos[i]), "photo.png")
        barrier.wait()
        while answers[i] is None:
            try:
                answers[i] = server.ask(path)
            except Refused as error:
                assert "Queue is full" in str(error)
                busy[i] += 1
                time.sleep(0.5)

    barrier = threading.Barrier(clients)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert None not in answers
    for photo, outputs in zip(photos, answers):
        check_answer(server, model, photo, outputs)
    assert sum(count > 0 for count in busy) >= 8  # one is worked on, eight wait
    assert peak_memory(server.pid) < before + 200
