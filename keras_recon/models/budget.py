"""What a configuration asks for is bounded by what its file holds, while the model is built."""

import math
from contextlib import contextmanager
from threading import RLock, get_ident

import keras

# Of what models hold: layers a weight, weights beside those that are saved, as quantisation replaces some, and bytes.
LAYERS, WEIGHTS, BYTES = 8, 4, 16
SOME = {"layers": 256, "weights": 64, "bytes of weights": 2**24}  # for small files
_lock = RLock()  # of the two methods that are replaced


@contextmanager
def budget(weights: int, size: int):
    """End the building of a model in the block, by this thread, once it outgrows a file of so many weights and bytes.

    Nobody can tell from a configuration alone what it builds: a number of it may be a depth, a width or a size.
    """
    left = {"layers": LAYERS * weights, "weights": WEIGHTS * weights, "bytes of weights": BYTES * size}
    left = {name: count + SOME[name] for name, count in left.items()}
    flaws, thread, Layer = [], get_ident(), keras.layers.Layer
    make, add_weight = Layer.__init__, Layer.add_weight

    def take(name, count):
        if get_ident() != thread:
            return
        left[name] -= count
        if left[name] < 0:
            flaws.append(
                f"its configuration asks for more {name} than a file of {weights} weights, {size} bytes, holds"
            )
            raise ValueError(flaws[0])

    def counted_init(self, *args, **kwargs):
        take("layers", 1)
        make(self, *args, **kwargs)

    def counted_weight(self, shape=None, *args, **kwargs):
        take("weights", 1)
        take("bytes of weights", 4 * math.prod(shape or ()))
        return add_weight(self, shape, *args, **kwargs)

    with _lock:
        Layer.__init__, Layer.add_weight = counted_init, counted_weight
        try:
            yield
        except Exception:
            if flaws:  # around which Keras puts the whole configuration
                raise ValueError(flaws[0]) from None
            raise
        finally:
            Layer.__init__, Layer.add_weight = make, add_weight
