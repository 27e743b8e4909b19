"""A web page that degrades a photo and compares it with a model's reconstruction.

The page offers the presets and the models of all runs in a folder. It is served by this computer and loads nothing from
other computers. Photos are processed one at a time; further photos wait in a queue.
"""

import argparse
import json
import math
import os
import time
from functools import lru_cache
from pathlib import Path

from app.extras import require
from app.parser import Parser, fail
from app.quiet import quiet_start

# The browser loads neither fonts nor scripts from other servers. Gradio needs the two "unsafe" words.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
UPLOAD = "/gradio_api/upload"  # the only requests whose body is not JSON
# Limits of a degradation, which nothing can interrupt: the number of terms, and sizes on which time or memory depends.
MAX_TERMS, MAX_SIZE = 4, 64
# The degradation that the page suggests for a preset.
SUGGESTED = {"denoise": "noise:25", "deblock": "jpeg:10"}
HELP = """Drop a photo, or keep this one. The text field says how it is degraded: noise:25 adds noise with a standard
deviation of 25/255, and an empty field leaves it unchanged. Move the slider to compare the model's input (left) with
its output (right). The models are the presets of keras_recon and your own runs."""
SIZES = {"blur": "sigma", "motion": "length", "mask": "patch_size", "block": "patch_size"}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--saved-models", type=Path, default=Path("saved_models"), help="folder of runs (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all interfaces (default: %(default)s)")
    add("--port", type=int, default=7860, help="default: %(default)s")
    add("--max-megabytes", type=int, default=20, help="largest uploaded file (default: %(default)s)")
    add("--max-megapixels", type=float, default=4, help="largest uploaded photo (default: %(default)s)")
    add("--max-seconds", type=float, default=60, help="time limit for the model per photo (default: %(default)s)")
    add("--max-waiting", type=int, default=20, help="queued photos; more are rejected (default: %(default)s)")
    args = parser.parse_args(argv)
    for name in ("max_megabytes", "max_megapixels", "max_seconds", "max_waiting"):
        if getattr(args, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0. Received: {getattr(args, name)}")
    if not os.path.isdir(args.saved_models):
        parser.error(f"--saved-models must be a folder of runs. Received: {args.saved_models}")
    return args


def find_models(saved_models: Path) -> dict[str, Path]:
    """Return the model files of the presets, by name, and of the runs in a folder, by path inside it."""
    from keras_recon.presets import PRESETS, model_file
    from keras_recon.utils.run import MODEL_FILE

    paths = sorted(saved_models.rglob(MODEL_FILE))
    runs = {path.parent.relative_to(saved_models).as_posix(): path for path in paths}
    return {**{name: model_file(name) for name in PRESETS}, **runs}


def build(models: dict[str, Path], max_megapixels: float, max_seconds: float):
    """Return the page, a `gradio.Blocks`, for a dictionary of model files."""
    import gradio as gr  # from here on imports take seconds
    import matplotlib
    import numpy as np

    from keras_recon import data, degradations, load_model, metrics
    from keras_recon import reconstruct as reconstruct_photo
    from keras_recon.images import BadImage, pixels, read_image
    from keras_recon.presets import PRESETS

    load = lru_cache(maxsize=2)(lambda name: load_model(models[name]))

    def check_time(end):
        if time.monotonic() > end:
            raise TimeoutError(f"This photo takes more than {max_seconds:g} seconds: try a smaller one.")

    def psnr(photo, other):
        return float(metrics.psnr(photo[None], np.clip(other, 0, 1)[None])[0])

    def picture(image):  # as RGB without alpha
        return pixels.from_float(image[..., :3] * np.ones(3), np.uint8)

    def parse_degradation(text):
        if not text.strip():
            return None
        degradation = degradations.get(text)
        parts = getattr(degradation, "degradations", (degradation,))
        sizes = [getattr(part, SIZES[part.name]) for part in parts if part.name in SIZES]
        if len(parts) > MAX_TERMS or max(sizes, default=0) > MAX_SIZE:
            raise ValueError(
                f"The degradation must have at most {MAX_TERMS} terms, and blur or patches of at most {MAX_SIZE} "
                f"pixels. Received: {text[:100]}"
            )
        return degradation

    def reconstruct(photo, name, text):
        if not photo or not photo["path"]:
            raise gr.Error("Drop a photo first.", print_exception=False)
        if name not in [*models]:
            raise gr.Error(f"The model {name!r} is not in the list of choices.", print_exception=False)
        try:
            degradation = parse_degradation(str(text or ""))
            file = read_image(photo["path"], max_megapixels)
            model = load(name)
            photo = pixels.to_float(file.in_8_bits(model.image_shape[-1]))
            return show(model, photo, degradation, time.monotonic() + max_seconds)
        except BadImage as error:  # without the name of the uploaded file
            raise gr.Error(f"Cannot read the photo: {error.reason}", print_exception=False) from error
        except (OSError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def show(model, photo, degradation, end):
        """Return the values of the slider, the error map and the text."""
        degraded = degradation(photo, np.random.default_rng(0)) if degradation else photo
        output = reconstruct_photo(model, degraded, progress=lambda *_: check_time(end))
        height, width = output.shape[:2]
        enlarged = degraded.repeat(model.upscale, axis=0).repeat(model.upscale, axis=1)
        if model.upscale > 1:
            return (picture(enlarged), picture(output)), None, f"enlarged to {width}x{height} pixels"
        error_map = matplotlib.colormaps["inferno"](np.clip(5 * np.abs(output - photo).mean(axis=-1), 0, 1))[..., :3]
        figures = [f"**{psnr(photo, output):.2f} dB** PSNR of the reconstruction"]
        if degradation:
            figures.append(f"{psnr(photo, degraded):.2f} dB of the degraded photo")
        if hasattr(model, "latent_shape"):
            sizes = ["x".join(map(str, shape)) for shape in (model.image_shape, model.latent_shape)]
            figures.append(f"each tile of {sizes[0]} becomes {sizes[1]} latent values")
            figures.append(f"compression ratio {model.compression_ratio:.3g}")
        return (picture(enlarged), picture(output)), picture(error_map), ", ".join(figures)

    first = next(iter(models))
    _, photos = data.load_photos("sample", load(first).image_shape[-1])
    sample = data.middle_photo(photos, longest=600)
    suggested = SUGGESTED.get(first, "")
    opening = (picture(sample), *show(load(first), sample, parse_degradation(suggested), math.inf))

    with gr.Blocks(title="keras_recon", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f"# keras_recon\n\n{HELP}")
        with gr.Row():
            with gr.Column(scale=1):
                photo = gr.Image(type="filepath", image_mode=None, sources=["upload", "clipboard"], label="Photo")
                name = gr.Dropdown(list(models), label="Model", info=PRESETS.get(first))
                text = gr.Textbox(
                    suggested, label="Degradation", placeholder="noise:25, blur:1.6+noise:5 ... or nothing"
                )
                button = gr.Button("Reconstruct", variant="primary")
            with gr.Column(scale=2):
                figures = gr.Markdown()
                slider = gr.ImageSlider(label="Input of the model | output", format="png")
                errors = gr.Image(label="Absolute error, times 5", format="png", buttons=["fullscreen"])
        name.change(
            lambda name: (gr.Dropdown(info=PRESETS.get(name, "a run")), SUGGESTED.get(name, "")),
            [name],
            [name, text],
            api_visibility="private",
            queue=False,
        )
        page.load(lambda: opening, None, [photo, slider, errors, figures], api_visibility="private", queue=False)
        # Without preprocessing, Gradio does not open the photo: `read_image` says what is wrong with a broken one.
        button.click(
            reconstruct, [photo, name, text], [slider, errors, figures], api_name="reconstruct", preprocess=False
        )
    return page


class Guard:
    """ASGI middleware that sends `POLICY` with every answer and rejects requests for other files than uploaded ones.

    Gradio itself downloads a photo if a request names its URL, and reads any file on this computer if a request leaves
    out the mark of an uploaded file. The middleware also rejects large requests.

    Args:
        app: the ASGI application.
        max_bytes: largest body of a request. Requests must state its length.
    """

    def __init__(self, app, max_bytes: int):
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope, receive, send):
        messages = []

        async def receive_again():
            return messages.pop(0) if messages else await receive()

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        if scope["type"] == "http":
            status = self._status(scope)
            if not status and scope["method"] not in ("GET", "HEAD") and scope["path"] != UPLOAD:
                while not messages or messages[-1].get("more_body"):
                    messages.append(await receive())
                body = b"".join(message.get("body", b"") for message in messages)
                status = None if names_only_uploads(body) else 403
            if status:
                await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body"})
                return
        await self.app(scope, receive_again, send_with_policy)

    def _status(self, scope) -> int | None:
        """Return the status of a request that is rejected by its header."""
        length = dict(scope["headers"]).get(b"content-length", b"0" if scope["method"] in ("GET", "HEAD") else b"")
        if "/file=http" in scope["path"].lower():
            return 403
        if not length.isdigit():
            return 411
        return 413 if int(length) > self.max_bytes else None


def names_only_uploads(body: bytes) -> bool:
    """Return whether a body is JSON and marks all its files as uploaded, so that Gradio checks where they are."""

    def check(values):
        path, meta = values.get("path"), values.get("meta")
        is_marked = isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"
        if "path" in values and not (is_marked and isinstance(path, str) and "://" not in path):
            raise ValueError(path)
        return values

    try:
        json.loads(body or b"null", object_hook=check)
    except (ValueError, RecursionError):
        return False
    return True


def main(argv: list[str] | None = None):
    args = parse(argv)
    require("demo", "gradio")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with quiet_start():
        models = find_models(args.saved_models)
        page = build(models, args.max_megapixels, args.max_seconds)
    # `api_open=False` closes the ways around the queue.
    page.queue(max_size=args.max_waiting, default_concurrency_limit=1, api_open=False)

    import gradio as gr
    from starlette.middleware import Middleware

    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            ssr_mode=False,
            max_file_size=f"{args.max_megabytes}mb",
            theme=gr.themes.Default(
                font=["system-ui", "sans-serif"], font_mono=["monospace"]
            ),  # the default loads Google's
            app_kwargs={"middleware": [Middleware(Guard, max_bytes=(args.max_megabytes + 1) * 2**20)]},
        )
    except OSError:
        fail(f"--host and --port must be free to listen at. Received: {args.host}:{args.port}")


if __name__ == "__main__":
    main()
