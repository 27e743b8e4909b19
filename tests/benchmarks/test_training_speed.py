import json

import keras
import pytest
import training_speed
from training_contestants import CONTESTANTS
from training_tasks import TASKS

torch = pytest.importorskip("torch", reason="the peers are PyTorch's")
torch_peers = pytest.importorskip("torch_peers")

SLOW = pytest.mark.slow
# What has to be found in the process behind a label: the library of its layers, the framework, whether it is compiled,
# what it computes in every step. Both dtypes come to every way of training.
SCORED = ["loss", "psnr", "ssim"]
RAN = {
    "keras_recon/tensorflow": ("keras_recon", "tensorflow", False, SCORED, "bfloat16"),
    "keras_recon/tensorflow_xla": ("keras_recon", "tensorflow", True, SCORED, "float32"),
    "keras_recon/tensorflow_xla_bare": ("keras_recon", "tensorflow", True, ["loss"], "float32"),
    "keras_recon/jax": ("keras_recon", "jax", True, SCORED, "bfloat16"),
    "keras_recon/torch": ("keras_recon", "torch", False, SCORED, "float32"),
    "torch/eager": ("torch_peers", "torch", False, ["loss"], "bfloat16"),
    "torch/compile": ("torch_peers", "torch", True, ["loss"], "float32"),
    "keras_hub/tensorflow_xla": ("keras_hub", "tensorflow", True, SCORED, "float32"),
    "keras_hub/jax": ("keras_hub", "jax", True, SCORED, "bfloat16"),
    "transformers/eager": ("transformers", "torch", False, ["loss"], "float32"),
}
QUICK = ("keras_recon/tensorflow", "keras_recon/jax", "keras_recon/torch", "torch/eager")


@pytest.mark.parametrize("label", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in CONTESTANTS])
def test_a_label_runs_what_it_names(label):
    contestant = CONTESTANTS[label]
    for module in (contestant.backend, *contestant.needs):
        pytest.importorskip(module)
    library, framework, compiled, logs, dtype = RAN[label]
    task = next(name for name in ("vit-micro-16", "mae-micro-16") if name in contestant.tasks)
    with training_speed.Process(task, label, dtype, 2) as process:
        assert process.turn(2)["seconds"] > 0
        ran = process.turn(1)["ran"]
    others = {"keras_recon", "keras_hub", "torch_peers", "transformers"} - {library}
    if library == "keras_hub":
        others -= {"keras_recon"}  # its decoder
    assert library in ran["layers of"] and not others & set(ran["layers of"])
    version = __import__("jaxlib" if framework == "jax" else framework).__version__
    assert ran["framework"] == f"{'jaxlib' if framework == 'jax' else framework} {version}"
    assert ran.get("keras") == (f"{keras.version()}, {framework}" if library.startswith("keras") else None)
    assert (ran["compiled"], ran["logs"], ran["dtype"]) == (compiled, logs, dtype)


def test_a_task_is_what_it_names():
    for name, task in TASKS.items():
        system = {"ViTTask": "mae" if task.mask_ratio else "vit", "AutoencoderTask": "autoencoder"}
        assert name == f"{system[type(task).__name__]}-{task.variant}-{task.side}"
    for name in ("vit-micro-16", "mae-micro-16", "autoencoder-micro-16"):
        task, model = TASKS[name], TASKS[name].keras_model()
        assert model.image_shape == (16, 16, 3) and model.is_masked == (task.mask_ratio > 0)
        sizes = model.variants[task.variant]
        assert {size: getattr(model, size) for size in sizes} == sizes


@pytest.mark.parametrize("task", ["vit-tiny-64", "mae-tiny-64", "autoencoder-micro-64"])
def test_the_peers_are_the_same_networks(task):
    own, peer = TASKS[task].keras_model(), TASKS[task].torch_model()
    count = sum(keras.ops.size(variable) for variable in own.trainable_variables)
    assert int(count) == sum(parameter.numel() for parameter in peer.parameters() if parameter.requires_grad)


def test_the_peers_block_is_that_of_pytorch():
    own = torch_peers.Block(hidden_dim=24, num_heads=3, mlp_dim=48)
    other = torch.nn.TransformerEncoderLayer(24, 3, 48, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    names = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "projection.",
        "linear1.": "mlp.0.",
        "linear2.": "mlp.2.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    own.load_state_dict(
        {
            names[start] + name.removeprefix(start): value
            for name, value in other.state_dict().items()
            for start in names
            if name.startswith(start)
        }
    )
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(own(x), other(x))


def test_operations_are_those_that_pytorch_counts_beside_attention():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        TASKS["vit-tiny-64"].torch_model()(torch.rand(2, 64, 64, 3)).backward()
    attention = 3 * 16 * 2 * 2 * 64 * 64 * 192  # forward and backward, blocks, logits and values, 2 tokens^2 width
    counted = TASKS["vit-tiny-64"].flops()
    assert counted - attention == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


def test_operations_of_convolutions_grow_with_the_pixels():
    small, large = (TASKS[f"autoencoder-micro-{side}"].flops() for side in (16, 64))
    assert large == pytest.approx(16 * small)


def test_why_a_contestant_failed_is_told():
    why = pytest.raises(RuntimeError, match=r"transformers/eager has the tasks .* \(status 2\)")
    with training_speed.Process("vit-micro-16", "transformers/eager", "float32", 2) as process, why:
        process.turn(1)


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, capsys):
    output, own = tmp_path / "speed.json", f"keras_recon/{keras.backend.backend()}"
    what = ["--tasks", "vit-micro-16", "--dtypes", "float32", "--contestants", "torch/eager", own]
    training_speed.main([*what, "--batch-size", "2", "--rounds", "1", "--steps", "1", "--output", str(output)])
    result = json.loads(output.read_text())["results"]["vit-micro-16, float32"]
    rows = result["rows"]
    assert list(rows) == list(result["ran"]) == ["torch/eager", own] and not result["failed"]
    assert rows["torch/eager"]["of torch/eager"] == 1 and all(row["images per second"] > 0 for row in rows.values())
    assert "matrix" in capsys.readouterr().out
