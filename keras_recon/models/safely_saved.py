import shutil
import typing
import warnings
import zipfile
from pathlib import Path

import keras

from keras_recon.models.exportable import Exportable
from keras_recon.models.trainable import PartlyTrained, freeze_layers, frozen_layers, lora_variables, own_weights
from keras_recon.presets import PRESETS, model_file
from keras_recon.utils.files import replacing
from keras_recon.utils.run import Run
from keras_recon.version import __version__


class SafelySaved(Exportable, PartlyTrained):
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

    def clone(self, **changes) -> "SafelySaved":
        """A copy with the same weights, not compiled, whose configuration differs by `changes`."""
        copy = type(self).from_config({**self.get_config(), **changes})
        copy.set_weights([keras.ops.convert_to_numpy(v) for v in own_weights(self)])
        return copy

    def save_to_preset(self, folder: str | Path):
        """Save the model, without its optimizer, where `from_preset` and `keras_recon.load_model` find it."""
        run = Run(folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        self.clone().save(run.model)

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

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """As `keras.Model.quantize`, for the modes that files can hold: "int8" and "int4", of dense layers.

        Keras quantises no convolutions; `keras_recon.export_model` writes quantised files for other runtimes.
        """
        # Keras makes a configuration of a mode before this is called.
        own = config is not None and config.get_config() != type(config)().get_config()
        if mode not in ("int8", "int4") or own:
            raise ValueError(
                f"`mode` must be 'int8' or 'int4', with Keras's own configuration of it. "
                f"Received: mode={mode!r}, config={config and config.get_config()}"
            )
        if lora_variables(self):
            raise ValueError("`quantize` needs a model without LoRA: model.merged(). Received: a model with LoRA")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Layer .* does not have a `quantize` method")
            super().quantize(mode, config=config, filters=filters, **kwargs)

    def get_build_config(self):
        """The version, which a file then has beside its configuration, for what `load_model` says of a newer one."""
        return {"keras_recon": __version__}

    def build_from_config(self, config):
        """Nothing to do: `__init__` builds."""

    def get_config(self):
        """The arguments of the constructor, and what was done to the model since that holds for a loaded one too.

        That is the indices of the quantised layers by mode, those of the frozen layers, and the rank of LoRA.
        """
        modes = [layer.dtype_policy.quantization_mode for layer in self._flatten_layers()]
        quantized = {mode: [i for i, of_layer in enumerate(modes) if of_layer == mode] for mode in {*modes} - {None}}
        since = {"quantized": quantized, "frozen": frozen_layers(self), "lora_rank": self.lora_rank}
        return {"name": self.name, **{key: value for key, value in since.items() if value}}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        quantized, frozen, rank = (config.pop(key, None) for key in ("quantized", "frozen", "lora_rank"))
        model = cls(**config)
        if rank:
            model.enable_lora(rank)
        if frozen:
            freeze_layers(model, frozen)
        layers = [*model._flatten_layers()]
        for mode, indices in (quantized or {}).items():
            chosen = {id(layers[i]) for i in indices if not layers[i].dtype_policy.quantization_mode}
            if chosen:  # those of a backbone are in its own configuration
                model.quantize(mode, filters=lambda layer, chosen=chosen: id(layer) in chosen)
        return model

    def _seed_states(self):
        others = {id(v) for v in (*self.weights, *self.metrics_variables)}
        return [v for v in self.variables if id(v) not in others]

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self._seed_states()):
            store[f"seed_{i}"] = state

    def load_own_variables(self, store):
        for i, weight in enumerate((*self._trainable_variables, *self._non_trainable_variables)):
            weight.assign(store[f"{i}"])
        for i, state in enumerate(self._seed_states()):
            state.assign(store[f"seed_{i}"])
