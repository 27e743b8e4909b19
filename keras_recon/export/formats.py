"""Files with 8-bit weights, by the quantisers of ONNX Runtime and LiteRT; Keras's own leaves out convolutions."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import keras
import numpy as np

from keras_recon.export.parity import MIN_PSNR, certify, quantization_modes
from keras_recon.metrics import psnr
from keras_recon.models import Reconstructor
from keras_recon.models.image_model import check_backend, check_size
from keras_recon.utils.files import replacing, write_json
from keras_recon.utils.run import MODEL_FILE

LAYERS = ["Conv", "MatMul", "Gemm"]
SMALL = 0.01  # of all weights


def write_onnx_int8(model: Reconstructor, path: str, images: np.ndarray):
    """Quantise weights per channel, and what goes into a layer by its range over `images`, (images, *image_shape).

    The smallest layers, which together hold 1 % of the weights, stay float, with all products of activations. They are
    the linear path, the latents and the first and last layers: in 8 bits they lost 2.4 dB of the autoencoder's PSNR.
    What products of matrices answer stays float, too. What convolutions answer has 8 bits, which is quicker, unless
    the file's PSNR to the float one is then below `MIN_PSNR`: the denoiser's last layers need more.
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
        given = graph.input[0].name

        def answers(file):
            session = InferenceSession(file, providers=["CPUExecutionProvider"])
            return np.concatenate([session.run(None, {given: image[None]})[0] for image in images])

        for float_outputs in (["MatMul", "Gemm"], LAYERS):
            batches = iter([{given: image[None]} for image in images])
            quantize_static(
                prepared,
                path,
                SimpleNamespace(get_next=partial(next, batches, None)),
                op_types_to_quantize=LAYERS,
                nodes_to_exclude=_small_layers(graph),
                per_channel=True,
                extra_options={"OpTypesToExcludeOutputQuantization": float_outputs},
            )
            if np.mean(psnr(answers(prepared), answers(path))) >= MIN_PSNR:
                break


def _small_layers(graph) -> list[str]:
    """Names of the layers of an ONNX graph with the fewest weights, up to `SMALL` of all."""
    sizes = {tensor.name: np.prod(tensor.dims) for tensor in graph.initializer}
    layers = [
        (sum(sizes.get(name, 0) for name in node.input), node.name) for node in graph.node if node.op_type in LAYERS
    ]
    layers.sort()
    shares = np.cumsum([size for size, _ in layers]) / max(1, sum(size for size, _ in layers))
    return [name for (_, name), share in zip(layers, shares) if share <= SMALL]


def write_litert_int8(model: Reconstructor, path: str, images: np.ndarray):
    """Quantise the weights; what goes into a layer is quantised by its own range when the file runs.

    By ranges over images (`representative_dataset`) the autoencoder lost 2.5 dB, this way 0.06, and LiteRT 2.3 took the
    process down where it ran the denoiser.
    """
    import tensorflow as tf

    model.export(path, format="litert", verbose=False, optimizations=[tf.lite.Optimize.DEFAULT])


def export_model(
    model: Reconstructor,
    folder: str | Path,
    formats: Sequence[str],
    images: np.ndarray,
    clean: np.ndarray | None = None,
) -> dict:
    """Write a model for use, each format as the file that `FORMATS` names, and the certificate `parity.json`.

    `keras` is the model without its optimizer: `keras.saving.load_model` then needs no loss or metric.

    `savedmodel` is for TensorFlow alone, without Keras or keras_recon. Its signatures take any batch size: `serve`,
    which is `serving_default` too, takes and gives float images (batch, *image_shape) in [0, 1]; `encode` gives latents
    (batch, *latent_shape), and `decode` takes them, where latents alone are an image; `reconstruct_uint8` and
    `reconstruct_bytes` take whole photos, see `keras_recon.export.signatures.photo_signatures`; masked models have
    neither.

    `onnx` and `litert` are `serve`, with any batch size, for ONNX Runtime and LiteRT. They need the packages of the
    extra `export` and the TensorFlow backend; onnx needs a float32 model. `onnx_int8` and `litert_int8` are the same
    with 8-bit weights, convolutions too, in a quarter to a third of the bytes; see `keras_recon.export.formats`.

    Every file is loaded again and compared with `model` on `images`, see `keras_recon.export.parity.certify`. If one of
    them differs too much, nothing is written. Formats of earlier exports to the folder stay, with their rows.

    Args:
        model: trained.
        folder: where to.
        formats: some of "keras", "savedmodel", "onnx", "litert", "onnx_int8" and "litert_int8".
        images, clean: float images (images, *image_shape) in [0, 1] and, for PSNR, what they should become. By what
            layers answer to `images` onnx_int8 chooses its ranges: some 20 photos like those that it will meet.

    Returns:
        The certificate.

    Raises:
        ValueError: of an unknown format, SavedModel of a model of unknown height or width, or LiteRT of one that
            `quantize("int8")` changed.
        RuntimeError: the backend cannot write a format, or a file does not answer as the model does.
        ImportError: a format needs a package that is not installed, and the extra that brings it.

    Example:

    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> images = np.random.rand(4, 32, 32, 3).astype("float32")
    >>> certificate = keras_recon.export_model(model, "export", ["keras"], images)
    >>> sorted(path.name for path in (tmp_path / "export").iterdir())
    ['model.keras', 'parity.json']
    """
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"`formats` must be some of {list(FORMATS)}. Received: {name!r}")
        check_backend(FORMATS[name].keras_name)
        _check_quantization(model, name)
        if name == "savedmodel":  # it cuts whole photos into tiles
            check_size(model)
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            raise ImportError(f'{name} needs {", ".join(missing)}, of the extra `export`: pip install -e ".[export]"')
    images = keras.ops.convert_to_numpy(model.checked(images)).astype("float32")  # the runtimes cast nothing
    folder, merged = Path(folder), model.merged()
    with ExitStack() as stack:
        paths = {name: stack.enter_context(replacing(folder / FORMATS[name].file)) for name in formats}
        for name, path in paths.items():
            FORMATS[name].write(merged, str(path), images)
        certificate = certify(model, paths, images, clean)
    path = folder / "parity.json"
    if path.exists():  # formats of earlier exports, whose files are still there, keep their rows
        earlier = json.loads(path.read_text())["files"]
        kept = {
            name: row for name, row in earlier.items() if name in FORMATS and (folder / FORMATS[name].file).exists()
        }
        certificate["files"] = kept | certificate["files"]
    write_json(path, certificate)
    return certificate


def _check_quantization(model, name):
    # LiteRT's converter takes no sums of 8-bit products as Keras makes them.
    if FORMATS[name].keras_name == "litert" and "int8" in quantization_modes(model):
        raise ValueError(
            f"`model` must not be quantised by Keras to int8 for {name}; export litert_int8 of the model before "
            f"`quantize`, or choose onnx or savedmodel. Received: a {type(model).__name__} with int8 layers"
        )


def _write_keras(model, path, images):
    model.clone().save(path)


def _write_savedmodel(model, path, images):
    images = keras.InputSpec(shape=(None, *model.image_shape), dtype="float32", name="images")
    latents = keras.InputSpec(shape=(None, *model.latent_shape), dtype="float32", name="latents")
    archive = keras.export.ExportArchive()
    archive.track(model)
    # The first one becomes `serving_default` as well.
    serve = archive.add_endpoint("serve", lambda images: model(images, training=False), [images])
    if model.has_latents:
        archive.add_endpoint("encode", lambda images: model.encode(images, training=False), [images])
    if model.decodes_latents:
        archive.add_endpoint("decode", lambda latents: model.decode(latents, training=False), [latents])
    if not model.is_masked:  # see `keras_recon.inference.check_model`
        from keras_recon.export.signatures import photo_signatures

        for name, function in photo_signatures(serve, model.image_shape, model.upscale).items():
            archive.add_endpoint(name, function)
    archive.write_out(path, verbose=False)


def _write_with_keras(model, path, images, format):
    model.export(path, format=format, verbose=False)


class Format(NamedTuple):
    """The file of a format, what Keras calls it, the function that writes it, and what it needs of an extra."""

    file: str
    keras_name: str
    write: Callable[[Reconstructor, str, np.ndarray], None]
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
