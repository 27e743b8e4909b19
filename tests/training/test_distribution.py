import keras
import numpy as np
import pytest
from contracts import random_images

from keras_recon.data.batches import Shard
from keras_recon.training import distribution


def test_alone_is_a_run_as_ever():
    assert distribution.start("none") is distribution.ALONE
    assert distribution.ALONE.shard == (0, 1, 1) and distribution.ALONE.distribute(lambda shard: shard) == Shard()


@pytest.mark.parametrize(
    "text, message",
    [("model:2", "devices.*model:2" if keras.backend.backend() == "jax" else "under jax only")]
    + [("data", "needs a process for each device")] * (keras.backend.backend() == "torch"),
)
def test_what_a_backend_has_not_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        distribution.start(text)


def test_shards_make_up_the_batches_and_read_their_own_photos_alone():
    pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")
    from keras_recon import data

    images = random_images(10, 16, 16, 3)
    read = []

    def photos():
        def read_one(i):
            read.append(i)
            return images[i]

        return data.Photos(range(10), read_one, cache_bytes=0)

    options = {"image_shape": (8, 8, 3), "batch_size": 6, "steps_per_epoch": 2, "epochs": 2, "seed": 3, "first_step": 1}
    whole = list(data.training_batches(photos(), **options).as_numpy_iterator())
    assert len(whole) == 3
    parts, counts = [], []
    for index in range(3):
        read.clear()
        batches = data.training_batches(photos(), **options, shard=Shard(index, 3, 2))
        parts.append(list(batches.as_numpy_iterator()))
        counts.append(len(read))
    for step, (degraded, clean) in enumerate(whole):
        np.testing.assert_array_equal(degraded, np.concatenate([part[step][0] for part in parts]))
        np.testing.assert_array_equal(clean, np.concatenate([part[step][1] for part in parts]))
    assert counts == [6, 6, 6]
    with pytest.raises(ValueError, match=r"multiple of the 4 devices\. Received: batch_size=6"):
        data.training_batches(photos(), **options, shard=Shard(0, 2, 2))


def test_every_device_validates_equally_many_of_all_images_but_a_rest():
    tf = pytest.importorskip("tensorflow", reason="the data pipeline needs TensorFlow")
    from keras_recon import data

    batches = tf.data.Dataset.range(23).map(lambda i: (i, -i)).batch(8)
    assert data.shard_of(batches, 8, Shard()) is batches
    shares = [data.shard_of(batches, 8, Shard(i, 2, 2)) for i in range(2)]
    parts = [[pair[0].tolist() for pair in share.as_numpy_iterator()] for share in shares]
    assert [[len(batch) for batch in part] for part in parts] == [[4, 4, 2], [4, 4, 2]]
    assert sorted(i for part in parts for batch in part for i in batch) == list(range(20))
