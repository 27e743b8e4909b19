import json
import math

import keras
import pytest
from models.test_vit import TINY

from benchmarks import masked_encoding
from keras_recon.models import ViTReconstructor


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's graph is counted")
@pytest.mark.parametrize("mask_ratio", [0.0, 0.75])
def test_counted_operations_are_those_of_the_graph(mask_ratio):
    """TensorFlow's own profiler gives the same without attention, whose Einsum it does not count."""
    import tensorflow as tf

    model = ViTReconstructor(**{**TINY, "hidden_dim": 32, "mlp_dim": 64}, mask_ratio=mask_ratio, linear_path=True)
    function = tf.function(lambda images: model(images, training=False))
    count = 0
    for op in function.get_concrete_function(tf.TensorSpec((1, 16, 16, 3))).graph.get_operations():
        if op.type == "Einsum":
            labels = op.get_attr("equation").decode().split("->")[0].split(",")
            sizes = {name: size for label, x in zip(labels, op.inputs) for name, size in zip(label, x.shape)}
            count += 2 * math.prod(sizes.values())
        elif "MatMul" in op.type:
            count += 2 * math.prod(op.inputs[0].shape) * op.outputs[0].shape[-1]
    assert masked_encoding.forward_flops(model) == count


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, capsys):
    output = tmp_path / "speed.json"
    options = ["--image-size", "16", "--patch-size", "4", "--mask-ratios", "0.75", "--batch-size", "2"]
    masked_encoding.main([*options, "--latent-dim", "4", "--rounds", "1", "--steps", "1", "--output", str(output)])
    results = json.loads(output.read_text())["results"]
    assert results["0"]["speed"] == results["0"]["expected"] == 1 < results["0.75"]["expected"]
    assert results["0.75"]["visible patches"] == 4 and "FLOP" in capsys.readouterr().out
