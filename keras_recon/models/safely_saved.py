import shutil
import zipfile

import keras

from keras_recon.utils.files import replacing


class SafelySaved(keras.Model):
    """A model whose files are complete or absent: they are written beside their final name, then renamed.

    They also hold the states of its seed generators, which Keras does not save: a resumed run needs those of dropout,
    to draw what it would have drawn.
    """

    def save(self, filepath, overwrite=True, **kwargs):
        if not overwrite:  # Keras asks before it writes
            return super().save(filepath, overwrite=False, **kwargs)
        with replacing(filepath) as temporary:
            super().save(temporary, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        if not overwrite or max_shard_size:  # shards are several files
            return super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        # HDF5 takes the process down where the disk fills while it writes. In a `.keras` file, which holds the same
        # weights, Keras writes them through memory, and the disk's errors are Python's.
        with replacing(filepath) as temporary:
            whole = temporary.with_name(f"{temporary.name}.keras")
            try:
                super().save(whole)
                with zipfile.ZipFile(whole) as archive, open(temporary, "wb") as file:
                    shutil.copyfileobj(archive.open("model.weights.h5"), file)
            finally:
                whole.unlink(missing_ok=True)

    def _seed_states(self):
        others = {id(v) for v in (*self.weights, *self.metrics_variables)}
        return [v for v in self.variables if id(v) not in others]

    def save_own_variables(self, store):
        for i, state in enumerate(self._seed_states()):
            store[f"seed_{i}"] = state

    def load_own_variables(self, store):
        for i, state in enumerate(self._seed_states()):
            state.assign(store[f"seed_{i}"])
