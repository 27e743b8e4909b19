#!/usr/bin/env bash
# Under gradient accumulation, Keras learning-rate schedules count batches, while optimizer.iterations counts updates.
#
# Expected: a schedule with a boundary at 3 still gives its first rate in updates 1 to 3. Seen (keras 3.15.1, jax 0.10.2):
# with gradient_accumulation_steps=4 the schedule is past its boundary after the first update, although
# optimizer.iterations is 1 then; 16 batches of gradient 1 move the weight by 1 in place of 4.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [1.0, 0.0])
optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=4)
weight = keras.Variable(np.zeros(1, "float32"))
for batch in range(1, 17):
    optimizer.apply([np.ones(1, "float32")], [weight])
    if batch % 4 == 0:
        print(f"batch {batch}: iterations={int(optimizer.iterations)}, weight={float(np.asarray(weight.value)[0])}")
assert int(optimizer.iterations) == 4 and float(np.asarray(weight.value)[0]) == -1.0
PYTHON
