"""Training on several devices and hosts.

It uses tf.distribute, keras.distribution under JAX, and PyTorch's DistributedDataParallel. The batch size of a run is
that of all devices together, so that results do not depend on their number. Processes, one per host, find each other
by the variables of `keras.distribution.initialize` on every backend: `KERAS_DISTRIBUTION_JOB_ADDRESSES` (host:port of
each, separated by commas), `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`.
"""

import contextlib
import json
import os
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_recon.data.batches import WHOLE, Shard

# `ModelParallel` splits transformer blocks as "Megatron-LM" (Shoeybi et al., 2019): the layers into the heads and into
# the MLP by columns, the layers out of them by rows, so that each block needs two sums over the devices.
SPLIT_COLUMNS = r"block_\d+/(attention/qkv|mlp_in)/"
SPLIT_ROWS = r"block_\d+/(attention/projection|mlp_out)/kernel"


class Distribution(NamedTuple):
    """The devices of a training.

    Attributes:
        shard: the part of each batch that this process computes.
        scope: returns a context manager in which the model is built and trained.
        distribute: turns a function `data(shard)` that returns a `tf.data.Dataset` of batches into data for `fit`.
        connect: connects a model to its copies in other processes, if the scope does not do so. It returns callbacks
            that must precede all others.
    """

    shard: Shard
    scope: Callable
    distribute: Callable
    connect: Callable = lambda model: []


ALONE = Distribution(WHOLE, contextlib.nullcontext, lambda data: data(WHOLE))


def start(text: str) -> Distribution:
    """Start a distributed training. Call this function before any computation.

    Args:
        text: `"none"`; `"data"` for the whole model and a part of each batch on every device; or, under JAX,
            `"model:N"` for transformer blocks that are split over N devices.

    Raises:
        ValueError: the backend or the number of devices does not support `text`.
    """
    kind, _, parts = text.partition(":")
    backend = keras.backend.backend()
    if kind == "model" and backend != "jax":
        raise ValueError(f"`distribute` may be 'model:N' under jax only. Received: distribute={text!r}")
    if text == "none":
        return ALONE
    if backend == "jax":
        return _start_jax(int(parts or 1))
    return _start_tensorflow() if backend == "tensorflow" else _start_torch()


def _processes() -> tuple[list[str], int]:
    """Return the addresses of all processes and the index of this one."""
    addresses = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES", "localhost").split(",")
    return addresses, int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))


def _start_tensorflow() -> Distribution:
    import tensorflow as tf

    class MultiWorkerMirroredStrategy(tf.distribute.MultiWorkerMirroredStrategy):
        def reduce(self, reduce_op, value, axis):
            # Keras reduces whole tuples, and scalars along an axis (keras-team/keras#20585).
            def reduce(part):
                rank = self.experimental_local_results(part)[0].shape.rank
                return super(MultiWorkerMirroredStrategy, self).reduce(reduce_op, part, axis if rank else None)

            return tf.nest.map_structure(reduce, value)

    addresses, index = _processes()
    if len(addresses) > 1:
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        os.environ["TF_CONFIG"] = json.dumps(cluster)
        strategy = MultiWorkerMirroredStrategy()
    else:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    replicas = strategy.num_replicas_in_sync // len(addresses)
    shard = Shard(index, len(addresses), replicas)

    def distribute(data):
        return strategy.distribute_datasets_from_function(lambda context: data(shard).flat_map(split))

    def split(*batch):  # into one element per device of this process
        parts = [tf.reshape(x, (replicas, -1, *x.shape[1:])) for x in batch]
        return tf.data.Dataset.from_tensor_slices(tuple(parts))

    return Distribution(shard, strategy.scope, distribute)


def _start_jax(parts: int) -> Distribution:
    import jax

    addresses, index = _processes()
    if len(addresses) > 1:
        keras.distribution.initialize()
    local = jax.local_device_count()
    if local % parts:
        raise ValueError(
            f"`distribute` must split the model over a divisor of each process's {local} devices. "
            f"Received: distribute='model:{parts}'"
        )
    if parts == 1:
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    else:
        mesh = keras.distribution.DeviceMesh((jax.device_count() // parts, parts), ("batch", "model"))
        layout = keras.distribution.LayoutMap(mesh)
        layout[SPLIT_COLUMNS + "kernel"] = (None, "model")
        layout[SPLIT_COLUMNS + "bias"] = ("model",)
        layout[SPLIT_ROWS] = ("model", None)
        distribution = keras.distribution.ModelParallel(layout_map=layout, auto_shard_dataset=False)
    shard = Shard(index, len(addresses), local // parts)
    return Distribution(shard, distribution.scope, lambda data: data(shard))


def _start_torch() -> Distribution:
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    addresses, index = _processes()
    if len(addresses) == 1:
        raise ValueError(
            "`distribute` under torch needs a process for each device, all in KERAS_DISTRIBUTION_JOB_ADDRESSES. "
            "Received: distribute='data' with one process"
        )
    engine = "gloo"
    if torch.cuda.is_available():
        engine = "nccl"
        hosts = [address.rpartition(":")[0] for address in addresses]
        torch.cuda.set_device(hosts[:index].count(hosts[index]))
    distributed.init_process_group(engine, f"tcp://{addresses[0]}", rank=index, world_size=len(addresses))

    @contextlib.contextmanager
    def scope():
        try:
            yield
        finally:
            distributed.destroy_process_group()

    class Call(torch.nn.Module):
        """The `call` of a model as a module whose parameters are the trainable variables."""

        def __init__(self, model):
            super().__init__()
            self.trained = torch.nn.ParameterList(variable.value for variable in model.trainable_variables)
            self.forward = model.call

    class MeanLogs(keras.callbacks.Callback):
        """Averages the logs over the processes, which have equally many images."""

        def on_train_batch_end(self, batch, logs=None):
            values = keras.ops.convert_to_tensor(list(logs.values()), "float32")
            distributed.all_reduce(values)
            logs.update(zip(logs, (values / len(addresses)).tolist()))

        on_epoch_end = on_train_batch_end

    def connect(model):
        model.call = DistributedDataParallel(Call(model)).forward
        return [MeanLogs()]

    shard = Shard(index, len(addresses))
    return Distribution(shard, scope, lambda data: data(shard), connect)
