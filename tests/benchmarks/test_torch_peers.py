from importlib.util import find_spec

import keras
import pytest
from training_tasks import TASKS

torch = pytest.importorskip("torch", reason="the peers are PyTorch's")
torch_peers = pytest.importorskip("torch_peers")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow" and find_spec("triton") is not None,
    reason="PyTorch's counter imports triton, whose LLVM and TensorFlow's end a process that has both",
)


@pytest.mark.parametrize("task", ["vit-micro-16", "mae-micro-16", "autoencoder-micro-16"])
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
        TASKS["vit-micro-16"].torch_model()(torch.rand(2, 16, 16, 3)).backward()
    attention = 3 * 6 * 2 * 2 * 16 * 16 * 128  # forward and backward, blocks, logits and values, 2 tokens^2 width
    counted = TASKS["vit-micro-16"].flops()
    assert counted - attention == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


def test_operations_of_convolutions_grow_with_the_pixels():
    small, large = (TASKS[f"autoencoder-micro-{side}"].flops() for side in (16, 64))
    assert large == pytest.approx(16 * small)
