"""What of a model is trained, beyond its configuration: frozen layers, and low-rank updates of kernels."""

import itertools
import shutil
import typing
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon import losses
from keras_recon.metrics import named
from keras_recon.presets import PRESETS, model_file
from keras_recon.utils.files import replacing
from keras_recon.utils.run import Run
from keras_recon.version import __version__


def frozen_layers(model: keras.Model) -> list[int]:
    """Indices, among all layers of a model, of those that are not `trainable`."""
    return [i for i, layer in enumerate(model._flatten_layers()) if not layer.trainable]


def freeze_layers(model: keras.Model, indices: list[int]):
    """Make exactly these layers not `trainable`."""
    for i, layer in enumerate(model._flatten_layers()):  # a layer comes before what it contains and sets
        if layer.trainable != (i not in indices):
            layer.trainable = i not in indices


def lora_variables(model: keras.Model) -> list[tuple]:
    """(kernel, a, b) of each layer with LoRA."""
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "lora_enabled", False)]
    return [(layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b) for layer in layers]


class LoRAState(keras.layers.Layer):
    """Saves the kernels and low-rank updates of a model apart.

    On its own, Keras saves the kernels with the updates merged, and loads the updates as zeros, which can never be
    trained again. It saves and loads attributes in the order of their names: this must come after the model's.
    """

    def __init__(self, model: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.model_variables = lambda: [v for group in lora_variables(model) for v in group]  # not tracked twice
        self.built = True

    def save_own_variables(self, store):
        for i, variable in enumerate(self.model_variables()):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.model_variables()):
            variable.assign(store[str(i)])


def own_weights(model: keras.Model) -> list:
    """A model's weights but those of an adversary, which copies do not have."""
    adversary = getattr(model, "adversary", None)
    others = {id(v) for v in adversary.weights} if adversary else ()
    return [v for v in model.weights if id(v) not in others]


def merged_weights(model: keras.Model) -> list[np.ndarray]:
    """A model's weights, of kernels with LoRA the sums with their updates; the rank and Keras's alpha cancel."""
    groups = lora_variables(model)
    updates = {id(v) for group in groups for v in group[1:]}
    merged = {}
    for group in groups:
        kernel, a, b = (keras.ops.convert_to_numpy(variable).astype("float32") for variable in group)
        merged[id(group[0])] = kernel + a @ b
    return [merged.get(id(v), keras.ops.convert_to_numpy(v)) for v in own_weights(model) if id(v) not in updates]


class PartlyTrained(keras.Model):
    """A model whose frozen layers and low-rank updates are in its configuration.

    Attributes:
        lora_rank: what `enable_lora` was called with; None for no updates.
    """

    lora_rank: int | None = None

    def enable_lora(self, rank: int):
        """Train nothing from here on but updates of low rank of the kernels ("LoRA", Hu et al., 2022).

        Of a transformer those of the attention's queries, keys and values, of a network without attention those of its
        convolutions; see the strategy `lora` for a pretrained backbone. Compile afterwards; `merged` adds them up.

        Args:
            rank: of each update, from 1.

        Example:

        >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
        >>> model.enable_lora(4)
        >>> sorted({v.name for v in model.trainable_variables})
        ['lora_kernel_a', 'lora_kernel_b']
        """
        if not hasattr(self, "encoder"):
            raise ValueError(f"`enable_lora` needs a model with an encoder. Received: a {type(self).__name__}")
        self.check_lora(rank)
        layers = [*self.encoder._flatten_layers(), *self.decoder._flatten_layers()]
        attention = [layer for layer in layers if layer.name == "qkv"]
        for layer in self._flatten_layers():
            layer.trainable = layer is self
        for layer in attention or [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]:
            layer.trainable = True
            layer.enable_lora(rank)
        for variable in self.trainable_variables:
            variable.trainable = variable.name.startswith("lora_kernel")
        self.lora_rank = rank
        self.track_lora(self)

    def check_lora(self, rank: int):
        """Refuse updates of kernels that have some, or are rounded."""
        if lora_variables(self) or self.get_config().get("quantized"):
            raise ValueError(
                f"`enable_lora` can be called once, on a model that is not quantised. Received: rank={rank}, "
                f"{'updates of LoRA' if lora_variables(self) else 'a quantised model'}"
            )

    def track_lora(self, model: keras.Model):
        """Save the updates of a model, this one or one in it, so that their training can go on."""
        built = self._tracker.locked
        self._tracker.unlock()  # as Keras does for the updates: a built model takes no more layers
        self.lora_state = LoRAState(model, name="lora_state")
        if built:
            self._tracker.lock()

    def merged(self) -> "PartlyTrained":
        """The model for use: a copy with the updates of LoRA added to the kernels; itself where there are none."""
        if not lora_variables(self):
            return self
        config = {k: v for k, v in self.get_config().items() if k not in ("lora_rank", "frozen")}
        merged = type(self).from_config({**config, **({"strategy": "frozen"} if "strategy" in config else {})})
        merged.set_weights(merged_weights(self))
        return merged


MAX_VALUE = 8  # noise may leave [0, 1], but not so far: these are pixels up to 255


class Checked(keras.Model):
    """A model that says what is wrong with its images, and knows the names of keras_recon's losses and metrics."""

    @property
    def multiple(self) -> int:
        """What divides a height or width that `image_shape` does not tell."""
        return self.patch_size

    def checked(self, images):
        """Images as float tensors, if they are such of the model's `image_shape`.

        Raises:
            ValueError: they are integers, or of another shape.
        """
        if not isinstance(images, keras.KerasTensor):  # of which this would be an operation of a functional model
            images = ops.convert_to_tensor(images)
        self._check(images)
        return ops.cast(images, "float32") if keras.backend.standardize_dtype(images.dtype) == "float64" else images

    def _check(self, images):
        """Refuse an array or tensor that is no batch of the model's images."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" not in dtype:
            raise ValueError(f"`images` must be float in [0, 1]: divide by 255. Received: dtype={dtype}")

        def fits(size, expected):
            return size is None or (size % self.multiple == 0 if expected is None else size == expected)

        if len(images.shape) != 4 or not all(map(fits, images.shape[1:], self.image_shape)):
            multiples = f", None a multiple of {self.multiple}" if None in self.image_shape else ""
            raise ValueError(
                f"`images` must have the shape (batch, {', '.join(map(str, self.image_shape))}){multiples}. "
                f"Received: shape={tuple(images.shape)}"
            )

    def compute_output_spec(self, images, *args, **kwargs):
        """Of an unknown size, for which Keras would try the call with sizes of its own."""
        if None not in self.image_shape:
            return super().compute_output_spec(images, *args, **kwargs)
        scaled = [side and side * self.upscale for side in images.shape[1:3]]
        return keras.KerasTensor((images.shape[0], *scaled, images.shape[3]), "float32")

    def __call__(self, images, *args, **kwargs):
        return super().__call__(self.checked(images), *args, **kwargs)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """As `keras.Model.compile`; strings may be those of `keras_recon.losses.get` and `metrics.get`."""
        known = metrics and keras.tree.map_structure(named, metrics)
        super().compile(optimizer, losses.get(loss), loss_weights, known, **kwargs)

    def summary(self, *args, **kwargs):
        """As `keras.Model.summary`; `expand_nested` shows what the encoder and the decoder consist of, too."""
        parts = [layer for layer in self._flatten_layers() if layer._layers and not hasattr(layer, "layers")]
        for layer in parts:  # Keras looks into what has `layers`; a lasting attribute would be a part of saved files
            object.__setattr__(layer, "layers", [*layer._layers])
        try:
            super().summary(*args, **kwargs)
        finally:
            for layer in parts:
                object.__delattr__(layer, "layers")

    def compile_from_config(self, config):
        """What Keras does for a loaded model, unless its `compile` is its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        return super().fit(self._checked_data(x), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        within_fit = "_use_cached_eval_dataset" in kwargs  # after every epoch
        return super().evaluate(x if within_fit else self._checked_data(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        return super().predict(self._checked_data(x), *args, **kwargs)

    def _checked_data(self, data):
        """The same data, of which an array, or the first batch, is looked at.

        Before Keras begins: on JAX, an error in a step would leave the model without its weights.
        """
        if data is None or hasattr(data, "shape"):
            batch = data
        elif isinstance(data, keras.utils.PyDataset):
            batch = data[0]
        else:
            batches = iter(data)
            batch = next(batches, None)
            if batches is data:  # a generator, which has nothing twice
                data = _chained([] if batch is None else [batch], batches)
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if hasattr(images, "shape"):
            self._check(images)
            check_range(ops.convert_to_numpy(images))
        return data


def _chained(*parts):
    """A generator, as Keras wants it, of what the parts have."""
    yield from itertools.chain(*parts)


def check_size(model: keras.Model):
    """Refuse a model of an unknown height or width, where tiles or crops take their size from it."""
    if None in model.image_shape:
        example = (128, 128, model.image_shape[2])
        raise ValueError(
            f"`model` must have a height and a width, as model.for_image_shape({example}) has. "
            f"Received: image_shape={model.image_shape}"
        )


def check_range(images: np.ndarray):
    """Refuse what looks like pixels from 0 to 255."""
    largest = float(max(images.max(initial=0), -images.min(initial=0)))  # without a copy of all of them
    if largest > MAX_VALUE:
        raise ValueError(f"Images must be in [0, 1]: divide by 255. Received: values up to {largest:g}")


# The backends that can write a format of `keras.Model.export`; of others Keras itself says what they need.
BACKENDS = {"tf_saved_model": ("tensorflow", "jax"), "onnx": ("tensorflow",), "litert": ("tensorflow",)}


def can_export(format: str) -> bool:
    """Whether the backend can write a format."""
    backend = keras.backend.backend()
    return backend in BACKENDS.get(format, (backend,))


def check_backend(format: str):
    """Refuse a format that the backend cannot write."""
    if not can_export(format):
        raise RuntimeError(
            f"{format} cannot be exported from the {keras.backend.backend()} backend; save a .keras file, then load "
            "and export it under KERAS_BACKEND=tensorflow"
        )


@lru_cache
def teach_tf2onnx():
    """Tell tf2onnx of `Erfc`, of which TensorFlow makes the exact GELU; it knows only its complement."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, graph, node, **kwargs):
            one = graph.make_const(f"{node.name}_one", np.array(1, "float32"))
            negative = graph.make_node("Neg", node.input)
            erf = graph.make_node("Erf", negative.output)
            node.type = "Add"
            graph.replace_inputs(node, [one.output[0], erf.output[0]])


class Exportable(keras.Model):
    """A model whose `export` needs no call before, and no signature: its `image_shape` says what it takes."""

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As `keras.Model.export`: what `call` does, for any batch size.

        `keras_recon.export_model` also writes signatures for latents and whole photos, and checks what was written.

        Raises:
            RuntimeError: the backend cannot write the format, or not for images of any height and width.
        """
        check_backend(format)
        if keras.backend.backend() == "jax" and None in self.image_shape:
            raise RuntimeError(
                "A model of images of any height and width cannot be exported from the jax backend: export one of a "
                "size, as `model.for_image_shape((128, 128, 3))` is, or load its .keras file under "
                f"KERAS_BACKEND=tensorflow. Received: image_shape={self.image_shape}"
            )
        if format == "onnx":
            teach_tf2onnx()
        if input_signature is None:
            input_signature = [keras.InputSpec(shape=(None, *self.image_shape), dtype="float32", name="images")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Keras asks for np.object, for tf2onnx
            return super().export(filepath, format, verbose, input_signature, **kwargs)


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
