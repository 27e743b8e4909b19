"""Files with 8-bit weights, by the quantisers of ONNX Runtime and LiteRT; Keras's own leaves out convolutions."""

import tempfile
from functools import partial
from types import SimpleNamespace

import numpy as np

from keras_recon.export.parity import MIN_PSNR
from keras_recon.metrics import psnr
from keras_recon.models import Reconstructor

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
