#!/usr/bin/env bash
# Keras calls PyDataset.on_epoch_end once before the first epoch.
#
# Expected: on_epoch_end is called after each epoch, so a data set that counts epochs there serves epoch 0 first. Seen
# (keras 3.15.1, torch 2.13.0; TensorFlow 2.21 gives the same): the first epoch of fit is served as epoch 1, the second as
# epoch 2, also with one worker and shuffle=False. Epoch 0 is never used.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 torch==2.13.0
KERAS_BACKEND=torch "$work/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    epoch = 0

    def __len__(self):
        return 3

    def __getitem__(self, step):
        return np.full((1, 1), 100 * self.epoch + step, "float32"), np.zeros((1, 1), "float32")

    def on_epoch_end(self):
        self.epoch += 1


seen = []


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.dense.build((None, 1))
        self.built = True

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        seen.append(float(x[0, 0]))
        return keras.ops.mean(y_pred**2)


model = Model()
model.compile("sgd", run_eagerly=True)
model.fit(Batches(), epochs=2, verbose=0, shuffle=False)
print("batches that were trained on (100 * epoch + step):", seen)
assert seen == [100, 101, 102, 200, 201, 202]
PYTHON
