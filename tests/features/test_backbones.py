import importlib.util
import subprocess
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import skimage.data
from contracts import outputs_of, random_images
from keras import ops
from models.tiny_backbones import save_as_hugging_face, tiny_backbone

from keras_recon.features import backbones

DEIT = Path(__file__).parents[3] / "shared" / "weights" / "deit_tiny_patch16_224_hf"
NO_DEIT = "the DeiT-tiny weights are not in ../shared"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_both_layouts_of_a_local_preset_load_with_their_statistics(tmp_path):
    backbone = tiny_backbone()
    backbone.save_to_preset(tmp_path / "keras")
    folders = [str(tmp_path / "keras"), str(save_as_hugging_face(backbone, tmp_path / "hugging_face"))]
    images = random_images(2, 16, 16, 3)
    for folder in folders:
        loaded = backbones.load_backbone(folder)
        np.testing.assert_allclose(outputs_of(loaded, images), outputs_of(backbone, images), atol=1e-6)
    assert backbones.load_mean_std(folders[1]) == IMAGENET
    with pytest.warns(UserWarning, match="no mean and std"):
        assert backbones.load_mean_std(folders[0]) == ((0.5,) * 3, (0.5,) * 3)
    # What keras-hub's converters do to 8-bit pixels: x * scale + offset.
    scale = [1 / 255 / s for s in IMAGENET[1]]
    offset = [-m / s for m, s in zip(*IMAGENET)]
    keras_hub.layers.ViTImageConverter(scale=scale, offset=offset).save_to_preset(folders[0])
    np.testing.assert_allclose(backbones.load_mean_std(folders[0]), IMAGENET, atol=1e-6)
    untrained = backbones.load_backbone(folders[0], load_weights=False)
    assert untrained.count_params() == backbone.count_params()
    assert not np.allclose(outputs_of(untrained, images), outputs_of(backbone, images), atol=1e-2)


def test_a_preset_that_cannot_be_had_is_named():
    with pytest.raises(RuntimeError, match=r"preset='no_such_preset' \(ValueError"):
        backbones.load_backbone("no_such_preset")


def in_pytorch(code: str, *arguments) -> np.ndarray:
    """What `code` writes to `sys.argv[1]`, from a process of its own: beside TensorFlow, PyTorch can crash."""
    if not importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is not installed")
    path = str(arguments[0])
    subprocess.run([sys.executable, "-c", f"import sys, numpy as np, torch\n{code}", *map(str, arguments)], check=True)
    return np.load(path)


HUGGING_FACE = """
from transformers import ViTConfig, ViTForImageClassification, ViTModel

path, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
if folder.endswith("random"):
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
    config = ViTConfig(**sizes, image_size=16, patch_size=4, layer_norm_eps=1e-6)
    ViTForImageClassification(config).save_pretrained(folder)
model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
images = torch.tensor(np.load(path).transpose(0, 3, 1, 2))
with torch.no_grad():
    np.save(path, model(images).last_hidden_state.numpy())
"""


@pytest.mark.parametrize("weights", ["random", "deit_tiny"])
def test_outputs_are_those_of_hugging_face(weights, tmp_path):
    folder, size = (tmp_path / "random", 16) if weights == "random" else (DEIT, 224)
    if weights == "deit_tiny" and not DEIT.exists():
        pytest.skip(NO_DEIT)
    images = random_images(2, size, size, 3)
    np.save(tmp_path / "images.npy", images)
    expected = in_pytorch(HUGGING_FACE, tmp_path / "images.npy", folder, size)
    outputs = outputs_of(backbones.load_backbone(str(folder)), images)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


@pytest.mark.skipif(not DEIT.exists(), reason=NO_DEIT)
def test_real_deit_weights():
    backbone = backbones.load_backbone(str(DEIT))
    assert backbone.count_params() == 5_717_416 - 193_000  # the published model less its classifier
    assert backbones.load_mean_std(str(DEIT)) == IMAGENET
    # Patches of the same thing look alike to trained weights, and not to random ones: two crops of a brick wall are
    # nearer to each other than to grass.
    crops = [
        getattr(skimage.data, n)()[t : t + 224, :224] / 255 for n, t in (("brick", 0), ("brick", 256), ("grass", 0))
    ]
    images = (np.stack([np.stack([c] * 3, -1) for c in crops]) - IMAGENET[0]) / IMAGENET[1]
    tokens = outputs_of(backbone, images.astype("float32"))[:, 0]
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    assert tokens[0] @ tokens[1] > tokens[0] @ tokens[2] + 0.2


RESIZE = """
path, *size = sys.argv[1:]
grid = torch.tensor(np.load(path)).permute(0, 3, 1, 2)
resized = torch.nn.functional.interpolate(grid, [int(s) for s in size], mode="bicubic", antialias=True)
np.save(path, resized.permute(0, 2, 3, 1).numpy())
"""


@pytest.mark.parametrize("new_grid", [(2, 3), (7, 5)])
def test_position_embeddings_resize_as_in_pytorch(new_grid, tmp_path):
    table = np.random.default_rng(0).standard_normal((1, 1 + 6 * 4, 5)).astype("float32")
    resized = backbones.resize_positions(table, (6, 4), new_grid)
    np.testing.assert_array_equal(resized[:, :1], table[:, :1])  # the class token's
    np.save(tmp_path / "grid.npy", table[:, 1:].reshape(1, 6, 4, 5))
    expected = in_pytorch(RESIZE, tmp_path / "grid.npy", *new_grid)
    np.testing.assert_allclose(resized[:, 1:], expected.reshape(1, -1, 5), atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "siglip"])
def test_reshaped_backbones_keep_what_fits(family):
    backbone = tiny_backbone(family)
    assert backbones.reshape_backbone(backbone, (16, 16, 3)) is backbone
    shape = (24, 24, 3) if family in ("dinov2", "siglip") else (8, 24, 3)  # they take squares only
    reshaped = backbones.reshape_backbone(backbone, shape)
    assert tuple(reshaped.image_shape) == shape
    kept = [
        np.array_equal(ops.convert_to_numpy(old), ops.convert_to_numpy(new))
        for old, new in zip(backbone.weights, reshaped.weights)
        if old.shape == new.shape
    ]
    assert all(kept) and len(kept) >= len(backbone.weights) - 3
    assert outputs_of(reshaped, random_images(1, *shape)).shape[-1] == 8


def test_gray_and_more_channels():
    backbone = tiny_backbone()
    gray = random_images(2, 16, 16, 1)
    as_rgb = np.repeat(gray, 3, axis=-1)
    expected = outputs_of(backbone, as_rgb)
    np.testing.assert_allclose(outputs_of(backbones.reshape_backbone(backbone, (16, 16, 1)), gray), expected, atol=1e-5)
    six = outputs_of(backbones.reshape_backbone(backbone, (16, 16, 6)), np.repeat(gray, 6, axis=-1))
    np.testing.assert_allclose(six, expected, atol=1e-5)
    assert backbones.adapt_channels(np.array([0.1, 0.2, 0.6]), 4).tolist() == [0.1, 0.2, 0.6, 0.1]
    np.testing.assert_allclose(backbones.adapt_channels(np.array([0.1, 0.2, 0.6]), 1), [0.3])


def test_what_yields_no_patch_tokens_is_refused():
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    with pytest.raises(ValueError, match="backbone of type Sequential"):
        backbones.backbone_parts(keras.Sequential(layers))


def test_a_hub_preset_without_statistics_is_told_from_one_out_of_reach(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    error = hub.errors.EntryNotFoundError("404")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", fail)
    with pytest.warns(UserWarning, match="no mean and std"):
        assert backbones.load_mean_std("hf://owner/name") == ((0.5,) * 3, (0.5,) * 3)
    error = hub.errors.LocalEntryNotFoundError("offline")
    with pytest.raises(hub.errors.LocalEntryNotFoundError):
        backbones.load_mean_std("hf://owner/name")
