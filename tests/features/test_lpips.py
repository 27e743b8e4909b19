import importlib.util
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import random_images
from keras import ops

from keras_recon.features import LPIPS

EXAMPLES = Path(__file__).parents[2] / "examples"
# The distance as the paper has it, on layers in torchvision's order.
REFERENCE = """
import sys
import numpy as np
import torch
from torch import nn

def alexnet():
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )

def vgg16():
    layers, channels = [], 3
    for filters in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        layers += [nn.Conv2d(channels, filters, 3, 1, 1), nn.ReLU()] if filters else [nn.MaxPool2d(2, 2)]
        channels = filters or channels
    return nn.Sequential(*layers)

network, images, weights, output = sys.argv[1:]
torch.manual_seed(0)
features, read = {"alex": (alexnet, (1, 4, 7, 9, 11)), "vgg": (vgg16, (3, 8, 15, 22, 29))}[network]
features = features()
pair = [torch.tensor(x).permute(0, 3, 1, 2) * 2 - 1 for x in np.load(images)]
mean, std = (torch.tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
state, distance = {f"features.{k}": v for k, v in features.state_dict().items()}, 0
with torch.no_grad():
    pair = [(x - mean) / std for x in pair]
    for i, layer in enumerate(features):
        pair = [layer(x) for x in pair]
        if i in read:
            a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in pair)
            head = torch.rand(1, a.shape[1], 1, 1)
            state[f"lin{read.index(i)}.model.1.weight"] = head
            distance = distance + ((a - b) ** 2 * head).sum(1).mean((1, 2))
torch.save(state, weights)
np.save(output, distance.numpy())
"""
# The same from the package, with the heads that are in it.
PACKAGE = """
import sys
import numpy as np
import torch
import lpips

network, images, weights, output = sys.argv[1:]
torch.manual_seed(0)
layer = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
pair = [torch.tensor(x).permute(0, 3, 1, 2) for x in np.load(images)]
with torch.no_grad():
    distance = layer(*pair, normalize=True)
torch.save(layer.state_dict(), weights)
np.save(output, distance.numpy().reshape(-1))
"""


def pairs(channels=3):
    y_true, noise = random_images(3, 67, 80, channels), np.random.default_rng(1).standard_normal((3, 67, 80, channels))
    return y_true, np.clip(y_true + noise * [[[[0.02]]], [[[0.1]]], [[[0.3]]]], 0, 1).astype("float32")


@pytest.mark.parametrize(
    "code, network, suffix",
    [
        (REFERENCE, "alex", ".safetensors"),
        (REFERENCE, "alex", ".npz"),
        (REFERENCE, "vgg", ".safetensors"),
        (PACKAGE, "alex", ".safetensors"),
        (PACKAGE, "vgg", ".npz"),
    ],
    ids=["alex", "alex-npz", "vgg", "alex-of-lpips", "vgg-of-lpips"],
)
def test_distances_of_converted_weights_are_pytorchs(code, network, suffix, tmp_path):
    modules = ("torch", "torchvision", "lpips") if code == PACKAGE else ("torch",)
    if missing := [module for module in modules if not importlib.util.find_spec(module)]:
        pytest.skip(f"{missing[0]} is not installed")
    images, weights, output = tmp_path / "images.npy", tmp_path / "weights.pth", tmp_path / "distances.npy"
    converted = tmp_path / f"{network}{suffix}"
    np.save(images, pairs())
    # Each in a process of its own: beside TensorFlow, PyTorch can crash.
    subprocess.run([sys.executable, "-c", code, network, *map(str, (images, weights, output))], check=True)
    subprocess.run([sys.executable, EXAMPLES / "convert_lpips.py", weights, "--output", converted], check=True)
    layer = LPIPS.from_file(converted)
    assert layer.network == network
    expected = np.load(output)
    assert expected.max() > 0.01
    np.testing.assert_allclose(ops.convert_to_numpy(layer(*pairs())), expected, atol=1e-6, rtol=1e-4)


def test_gray_images_are_seen_as_rgb():
    layer = LPIPS("alex")
    y_true, y_pred = pairs(channels=1)
    as_rgb = layer(y_true.repeat(3, axis=-1), y_pred.repeat(3, axis=-1))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(y_true, y_pred)), ops.convert_to_numpy(as_rgb), rtol=1e-4)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        layer(*pairs(channels=4))


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_it_is_a_frozen_layer_in_a_model_that_saves_and_loads(network, tmp_path):
    layer = LPIPS(network)
    assert layer.count_params() > 2_000_000 and not layer.trainable_weights
    inputs = [keras.Input((64, 64, 3)) for _ in range(2)]
    model = keras.Model(inputs, layer(*inputs))
    assert model.output_shape == (None,)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = [images[:, :64, :64] for images in pairs()]
    expected = ops.convert_to_numpy(layer(*images))
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(images)), expected)
    assert expected.min() > 0 and expected[0] < expected[1] < expected[2]


def test_files_that_do_not_fit_are_named(tmp_path):
    arrays = LPIPS("alex").named_arrays()
    with pytest.raises(ValueError, match=r"must be in a file of \.safetensors or \.npz.*weights\.pth"):
        LPIPS.from_file("weights.pth")
    np.savez(tmp_path / "short.npz", **{**arrays, "lin3.model.1.weight": np.zeros((1, 2, 1, 1))})
    with pytest.raises(ValueError, match=r"short\.npz must have the weight lin3.*\(1, 256, 1, 1\).*\(1, 2, 1, 1\)"):
        LPIPS.from_file(tmp_path / "short.npz")
    np.savez(tmp_path / "pickled.npz", **{name: np.array([None]) for name in arrays})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        LPIPS.from_file(tmp_path / "pickled.npz")
    with pytest.raises(ValueError, match="`network` must be one of"):
        LPIPS("squeeze")
