import json

import keras
import pytest
import training_contestants
import training_speed

torch = pytest.importorskip("torch", reason="the peers are PyTorch's")
pytest.importorskip("timm", reason="the peers' blocks are timm's")


@pytest.mark.parametrize("task", ["vit-tiny-64", "mae-tiny-64", "autoencoder-64"])
def test_the_peers_are_the_same_networks(task):
    own = training_contestants._keras_recon(task)
    peer = training_contestants._torch_peer(task)
    count = sum(keras.ops.size(variable) for variable in own.trainable_variables)
    assert int(count) == sum(parameter.numel() for parameter in peer.parameters() if parameter.requires_grad)


def test_operations_are_those_that_pytorch_counts_beside_attention():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        training_contestants._torch_peer("vit-tiny-64")(torch.rand(2, 64, 64, 3)).backward()
    counted = training_contestants.counted_flops("vit-tiny-64")
    attention = 3 * 16 * 2 * 2 * 64 * 64 * 192  # forward and backward, blocks, logits and values, 2 tokens^2 width
    assert counted - attention == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


@pytest.mark.slow
def test_the_script_measures_and_writes(tmp_path, capsys):
    output = tmp_path / "speed.json"
    options = ["--contestants", "torch/eager", f"keras_recon/{keras.backend.backend()}", "--batch-size", "2"]
    training_speed.main(
        [
            "--tasks",
            "vit-tiny-64",
            "--dtypes",
            "float32",
            *options,
            "--rounds",
            "1",
            "--steps",
            "1",
            "--output",
            str(output),
        ]
    )
    rows = json.loads(output.read_text())["results"]["vit-tiny-64, float32"]["rows"]
    assert rows["torch/eager"]["of torch/eager"] == 1 and all(row["images per second"] > 0 for row in rows.values())
    assert "share of matrix peak" in capsys.readouterr().out
