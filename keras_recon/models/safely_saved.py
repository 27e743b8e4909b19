import shutil
import typing
import zipfile
from pathlib import Path

import keras

from keras_recon.models.exportable import Exportable
from keras_recon.presets import PRESETS, model_file
from keras_recon.utils.files import replacing
from keras_recon.utils.run import MODEL_FILE


class SafelySaved(Exportable):
    """A model whose files are complete or absent: they are written beside their final name, then renamed.

    They also hold the states of its seed generators, which Keras does not save: a resumed run needs those of dropout,
    to draw what it would have drawn.

    Attributes:
        presets: what `from_preset` has of this class, by name.
    """

    presets: typing.ClassVar[dict[str, str]] = PRESETS

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs) -> "SafelySaved":
        """A model that comes with the package, or that `save_to_preset` or a training run saved.

        Args:
            preset: a name in `presets`, a folder or a `.keras` file; `keras_recon.load_model` is for strangers' files.
            load_weights: False for the same architecture with new weights.
            **kwargs: arguments of the constructor, in place of the saved ones.

        Example:

        >>> model = keras_recon.models.Reconstructor.from_preset("denoise")
        >>> model.save_to_preset("mine")
        >>> keras_recon.models.RestorationUNet.from_preset("mine", image_shape=(64, 96, 3)).image_shape
        (64, 96, 3)
        """
        model = keras.saving.load_model(model_file(preset, "preset"), compile=False)
        if not isinstance(model, cls):
            raise ValueError(
                f"`preset` must be of a {cls.__name__}. Received: preset={str(preset)!r}, a {type(model).__name__}"
            )
        if not load_weights:
            return type(model).from_config({**model.get_config(), **kwargs})
        return model.clone(**kwargs) if kwargs else model

    def save_to_preset(self, folder: str | Path):
        """Save the model, without its optimizer, where `from_preset` and `keras_recon.load_model` find it."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.clone().save(Path(folder) / MODEL_FILE)

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
