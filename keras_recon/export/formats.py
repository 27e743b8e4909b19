"""Export to files for deployment.

The formats with 8-bit weights use the quantisers of ONNX Runtime and LiteRT, because Keras quantises no convolutions.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial, singledispatch
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import keras
import numpy as np

from keras_recon.anomaly import AnomalyDetector
from keras_recon.compression import ImageCodec
from keras_recon.export.parity import MIN_PSNR, certify, quantization_modes
from keras_recon.metrics import psnr
from keras_recon.models import Reconstructor
from keras_recon.models.image_model import check_backend, check_size
from keras_recon.utils.files import replacing, write_json
from keras_recon.utils.run import MODEL_FILE

QUANTIZED_LAYERS = ["Conv", "MatMul", "Gemm"]
FLOAT_SHARE = 0.01  # of all weights


def export_model(
    model: Reconstructor | ImageCodec | AnomalyDetector,
    folder: str | Path,
    formats: Sequence[str],
    images: np.ndarray,
    clean: np.ndarray | None = None,
) -> dict:
    """Write a model for deployment, and the certificate `parity.json` that each file computes what the model computes.

    - `keras`: the model without its optimizer. `keras.saving.load_model` then needs no loss or metric.
    - `savedmodel`: needs TensorFlow alone, without Keras or keras_recon. The signatures take any batch size:
      - Image models: `serve`, which is also `serving_default`, maps float images (batch, *image_shape) in [0, 1] to
        such images. `encode` and `decode` exist where the model has these methods. `reconstruct_uint8` and
        `reconstruct_bytes` take photos of any size, see `keras_recon.export.signatures.photo_signatures`; masked models
        have neither.
      - Codecs: `compress` and `decompress`, see `ImageCodec.export`.
      - Detectors: `serve` maps tiles, float (batch, *image_shape) in [0, 1], to `map` (batch, height, width) and
        `score` (batch,). `detect_uint8` maps a photo of any size, uint8 (1, height, width, channels), to `map` (1,
        height, width) and `score` (1,). TensorFlow resizes photos to within one level of Pillow's result.
    - `onnx` and `litert`: `serve` of image models for ONNX Runtime and LiteRT, with any batch size. They need the extra
      `export` and the TensorFlow backend; `onnx` also needs a float32 model.
    - `onnx_int8` and `litert_int8`: the same with 8-bit weights, in a quarter to a third of the bytes.

    Each file is loaded and its outputs on `images` are compared with the model's, see
    `keras_recon.export.parity.certify`. If one of them differs too much, no file is written. Files of earlier exports
    to the folder keep their rows in the certificate.

    Args:
        model: A trained image model, codec or detector.
        folder: Folder for the files.
        formats: Names in `keras_recon.export.FORMATS`. Codecs and detectors have "keras" and "savedmodel".
        images: Float images (count, *image_shape) in [0, 1]. `onnx_int8` takes its ranges from them: give about 20
            photos like those of the deployment.
        clean: Target images of the same count, for PSNR in the certificate.

    Returns:
        The certificate.

    Raises:
        ValueError: A format is unknown or does not exist for the model, or `images` do not fit the model.
        RuntimeError: The backend cannot write a format, or a file computes something else than the model.
        ImportError: A package of the extra `export` is not installed.

    Example:
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> images = np.random.rand(4, 32, 32, 3).astype("float32")
    >>> certificate = keras_recon.export_model(model, "export", ["keras"], images)
    >>> sorted(path.name for path in (tmp_path / "export").iterdir())
    ['model.keras', 'parity.json']
    """
    for name in formats:
        _check_format(model, name)
    images = np.asarray(images)
    if np.issubdtype(images.dtype, np.floating):
        images = images.astype("float32")  # the runtimes do not cast
    folder, written = Path(folder), model
    if not isinstance(model, AnomalyDetector):
        model.checked(images)
        written = model.merged()
    with ExitStack() as stack:
        paths = {name: stack.enter_context(replacing(folder / FORMATS[name].file)) for name in formats}
        for name, path in paths.items():
            FORMATS[name].write(written, str(path), images)
        certificate = certify(model, paths, images, clean)
    path = folder / "parity.json"
    if path.exists():
        earlier = json.loads(path.read_text())["files"].items()
        kept = {name: row for name, row in earlier if name in FORMATS and (folder / FORMATS[name].file).exists()}
        certificate["files"] = kept | certificate["files"]
    write_json(path, certificate)
    return certificate


def _check_format(model, name: str):
    names = [*FORMATS][:2] if isinstance(model, (ImageCodec, AnomalyDetector)) else [*FORMATS]
    if name not in names:
        raise ValueError(f"`formats` must be some of {names} for a {type(model).__name__}. Received: {name!r}")
    check_backend(FORMATS[name].keras_name)
    # LiteRT's converter does not support the sums of 8-bit products in Keras's quantised layers.
    if FORMATS[name].keras_name == "litert" and "int8" in quantization_modes(model):
        raise ValueError(
            f"`model` must not be quantised by Keras to int8 for {name}; export litert_int8 of the model before "
            f"`quantize`, or choose onnx or savedmodel. Received: a {type(model).__name__} with int8 layers"
        )
    if name == "savedmodel" and not isinstance(model, ImageCodec):  # its signatures cut photos into tiles
        check_size(model)
    missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
    if missing:
        raise ImportError(f'{name} needs {", ".join(missing)}, of the extra `export`: pip install -e ".[export]"')


def _write_keras(model, path, images):
    copy = type(model).from_config(model.get_config())  # without the optimizer
    copy.set_weights(model.get_weights())
    copy.save(path)


@singledispatch
def _write_savedmodel(model, path, images):
    from keras_recon.export.signatures import photo_signatures  # needs TensorFlow

    archive, serve, images = _served(model)
    if isinstance(model, Reconstructor):
        archive.add_endpoint("encode", lambda images: model.encode(images, training=False), [images])
    if isinstance(model, Reconstructor) and model.decodes_latents:
        latents = keras.InputSpec(shape=(None, *model.latent_shape), dtype="float32", name="latents")
        archive.add_endpoint("decode", lambda latents: model.decode(latents, training=False), [latents])
    if not model.is_masked:  # see `keras_recon.inference.check_model`
        for name, function in photo_signatures(serve, model.image_shape, model.upscale).items():
            archive.add_endpoint(name, function)
    archive.write_out(path, verbose=False)


@_write_savedmodel.register
def _(model: ImageCodec, path, images):
    model.export(path, image_size=images.shape[1:3] if keras.backend.backend() == "jax" else (None, None))


@_write_savedmodel.register
def _(model: AnomalyDetector, path, images):
    from keras_recon.export.signatures import detect_signature

    archive, serve, _ = _served(model)
    archive.add_endpoint("detect_uint8", detect_signature(serve, model.image_shape))
    archive.write_out(path, verbose=False)


def _served(model) -> tuple:
    """Make an archive with the endpoint `serve`, and return it, the function of the endpoint and its input."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    images = keras.InputSpec(shape=(None, *model.image_shape), dtype="float32", name="images")
    # The first endpoint is also `serving_default`.
    return archive, archive.add_endpoint("serve", lambda images: model(images, training=False), [images]), images


def _write_with_keras(model, path, images, **options):
    model.export(path, verbose=False, **options)


def write_litert_int8(model: Reconstructor, path: str, images: np.ndarray):
    """Write a LiteRT file with 8-bit weights; the inputs of a layer are quantised by their own range at run time.

    Fixed ranges from images (`representative_dataset`) cost the autoencoder 2.5 dB instead of 0.06 dB, and LiteRT 2.3
    crashed on the denoiser.
    """
    import tensorflow as tf

    model.export(path, format="litert", verbose=False, optimizations=[tf.lite.Optimize.DEFAULT])


def write_onnx_int8(model: Reconstructor, path: str, images: np.ndarray):
    """Write an ONNX file with 8-bit weights per channel, and inputs of layers quantised by their ranges over `images`.

    The smallest layers, with 1 % of the weights in total, and products of activations stay float. These are the linear
    path, the latents and the first and last layers: in 8 bits they cost 2.4 dB of the autoencoder's PSNR. Outputs of
    matrix products stay float too. Outputs of convolutions have 8 bits, which is faster, unless the PSNR to the float
    file is then below `MIN_PSNR`, as for the last layers of the denoiser.
    """
    import onnx
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        exported, prepared = f"{folder}/model.onnx", f"{folder}/prepared.onnx"
        model.export(exported, format="onnx", verbose=False)
        quant_pre_process(exported, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        feeds = [{graph.input[0].name: image[None]} for image in images]

        def outputs(file):
            session = InferenceSession(file, providers=["CPUExecutionProvider"])
            return np.concatenate([session.run(None, feed)[0] for feed in feeds])

        for float_outputs in (["MatMul", "Gemm"], QUANTIZED_LAYERS):
            quantize_static(
                prepared,
                path,
                SimpleNamespace(get_next=partial(next, iter(feeds), None)),
                op_types_to_quantize=QUANTIZED_LAYERS,
                nodes_to_exclude=_small_layers(graph),
                per_channel=True,
                extra_options={"OpTypesToExcludeOutputQuantization": float_outputs},
            )
            if np.mean(psnr(outputs(prepared), outputs(path))) >= MIN_PSNR:
                break


def _small_layers(graph) -> list[str]:
    """Find the layers of an ONNX graph with the fewest weights, up to `FLOAT_SHARE` of all weights."""
    sizes = {tensor.name: np.prod(tensor.dims) for tensor in graph.initializer}
    layers = sorted(
        (sum(sizes.get(name, 0) for name in node.input), node.name)
        for node in graph.node
        if node.op_type in QUANTIZED_LAYERS
    )
    shares = np.cumsum([size for size, _ in layers]) / max(1, sum(size for size, _ in layers))
    return [name for (_, name), share in zip(layers, shares) if share <= FLOAT_SHARE]


class Format(NamedTuple):
    """A format: its file, its name in Keras, the function that writes it, and packages of the extra `export`."""

    file: str
    keras_name: str
    write: Callable[[keras.Model, str, np.ndarray], None]
    packages: tuple[str, ...] = ()


ONNX, LITERT = ("tf2onnx", "onnxruntime"), ("ai_edge_litert",)
FORMATS = {
    "keras": Format(MODEL_FILE, "keras", _write_keras),
    "savedmodel": Format("savedmodel", "tf_saved_model", _write_savedmodel),
    "onnx": Format("model.onnx", "onnx", partial(_write_with_keras, format="onnx"), ONNX),
    "litert": Format("model.tflite", "litert", partial(_write_with_keras, format="litert"), LITERT),
    "onnx_int8": Format("model.int8.onnx", "onnx", write_onnx_int8, ONNX),
    "litert_int8": Format("model.int8.tflite", "litert", write_litert_int8, LITERT),
}
