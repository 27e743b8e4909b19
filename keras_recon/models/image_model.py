"""The base of all image models: the pixel contract, checks of inputs, presets, saving and export."""

import itertools
import typing
import warnings
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_recon import losses
from keras_recon.metrics import named
from keras_recon.models import finetuning
from keras_recon.models.layer_state import freeze, frozen_paths, layers_by_path, quantize, quantized_paths
from keras_recon.presets import PRESETS, model_file
from keras_recon.utils.files import replacing, save_weights
from keras_recon.utils.run import Run
from keras_recon.version import __version__

MAX_VALUE = 8  # noise may leave [0, 1], but not by that much: larger values are pixels from 0 to 255
# The backends that can write a format of `keras.Model.export`. Keras names the requirements of the other formats.
EXPORT_BACKENDS = {"tf_saved_model": ("tensorflow", "jax"), "onnx": ("tensorflow",), "litert": ("tensorflow",)}


class ImageModel(keras.Model):
    """Base class of models that map float images in [0, 1] to images in the same range.

    Subclasses build all their layers in `__init__`, so that a model is complete before its first call. Inputs are not
    cast to the compute dtype, because half precision would round the pixels.

    Args:
        image_shape: (height, width, channels). A fully convolutional model takes None for an unknown height or width.
            It also accepts images of other sizes than its `image_shape`, which is the size of its tiles and crops.
        **kwargs: `name` and `dtype`, see `keras.Model`.

    Attributes:
        presets: descriptions of the presets of this class, by name.
        variants: constructor arguments by the name of a size.
        fully_convolutional: whether the weights fit images of any size.
        multiple: height and width of the images must be multiples of this number.
        upscale: ratio of the output's height and width to the input's.
        is_masked: whether calls hide patches from the encoder.
        linear_path: whether `adapt` fits a part of the model.
        lora_rank: the rank of `enable_lora`, or None.

    Example:
    >>> keras_recon.models.ImageModel.from_preset("denoise").image_shape
    (128, 128, 3)
    """

    presets: typing.ClassVar[dict[str, str]] = PRESETS
    variants: typing.ClassVar[dict[str, dict]] = {}
    fully_convolutional: bool = False
    multiple: int = 1
    upscale: int = 1
    is_masked: bool = False
    linear_path: bool | str = False
    lora_rank: int | None = None

    def __init__(self, image_shape: tuple[int | None, int | None, int], **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.image_shape = tuple(image_shape)
        sides = [side for side in self.image_shape[:2] if side is not None or not self.fully_convolutional]
        if len(self.image_shape) != 3 or not all(isinstance(n, int) and n > 0 for n in (*sides, self.image_shape[2])):
            unknown = ", None for an unknown height or width" if self.fully_convolutional else ""
            raise ValueError(
                f"`image_shape` must be (height, width, channels){unknown}. Received: image_shape={image_shape}"
            )

    @classmethod
    def from_variant(cls, variant: str, **kwargs) -> "ImageModel":
        """Build a model of a size in `variants`.

        Args:
            variant: name of the size.
            **kwargs: arguments of the constructor, which take precedence over those of the variant.
        """
        if variant not in cls.variants:
            raise ValueError(f"`variant` must be one of {list(cls.variants)}. Received: variant={variant!r}")
        return cls(**{**cls.variants[variant], **kwargs})

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs) -> "ImageModel":
        """Load a model of this class that ships with the package or that `save_to_preset` or a training run saved.

        Args:
            preset: a name in `presets`, a folder, or a `.keras` file from a trusted source. For other files use
                `keras_recon.load_model`, which checks them.
            load_weights: False for the same architecture with new weights.
            **kwargs: arguments of the constructor that replace the saved ones.

        Example:
        >>> model = keras_recon.models.RestorationUNet.from_preset("denoise")
        >>> model.save_to_preset("mine")
        >>> keras_recon.models.RestorationUNet.from_preset("mine", image_shape=(64, 96, 3)).image_shape
        (64, 96, 3)
        """
        model = keras.saving.load_model(model_file(preset, "preset"), compile=False)
        if not isinstance(model, cls):
            raise ValueError(
                f"`preset` must be of the class {cls.__name__}. "
                f"Received: preset={str(preset)!r} of the class {type(model).__name__}"
            )
        if not load_weights:
            return type(model).from_config({**model.get_config(), **kwargs})
        return model.clone(**kwargs) if kwargs else model

    def clone(self, **changes) -> "ImageModel":
        """Copy the model with its weights, not compiled.

        Args:
            **changes: arguments of the constructor that replace those of this model.
        """
        copy = type(self).from_config({**self.get_config(), **changes})
        copy.set_weights(self.get_weights())
        return copy

    def for_image_shape(self, image_shape: tuple[int, int, int]) -> "ImageModel":
        """Copy a fully convolutional model, with its weights, for tiles of another size.

        Args:
            image_shape: (height, width, channels); height and width must be multiples of `multiple`.
        """
        if not self.fully_convolutional:
            raise ValueError(
                f"`image_shape` of a {type(self).__name__} must be {self.image_shape}, because its weights depend on "
                f"it. Received: image_shape={tuple(image_shape)}"
            )
        if tuple(image_shape[2:]) != self.image_shape[2:]:
            raise ValueError(
                f"`image_shape` must have the {self.image_shape[2]} channels of the weights. "
                f"Received: image_shape={tuple(image_shape)}"
            )
        return self.clone(image_shape=tuple(image_shape))

    # Inputs

    def checked(self, images):
        """Convert images to float tensors.

        Raises:
            ValueError: they are integers, or their shape does not fit the model.
        """
        if not isinstance(images, keras.KerasTensor):  # whose conversion would be a layer of a functional model
            images = ops.convert_to_tensor(images)
        self._check(images)
        return ops.cast(images, "float32") if keras.backend.standardize_dtype(images.dtype) == "float64" else images

    def _check(self, images):
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" not in dtype:
            raise ValueError(f"`images` must be float in [0, 1]: divide by 255. Received: dtype={dtype}")
        *sides, channels = self.image_shape
        if self.fully_convolutional:
            sides = [None, None]

        def fits(size, expected):
            return size is None or (size % self.multiple == 0 if expected is None else size == expected)

        if len(images.shape) != 4 or not all(map(fits, images.shape[1:], (*sides, channels))):
            multiples = f", height and width multiples of {self.multiple}" if self.fully_convolutional else ""
            sides = ("height", "width") if self.fully_convolutional else sides
            raise ValueError(
                f"`images` must have the shape (batch, {', '.join(map(str, (*sides, channels)))}){multiples}. "
                f"Received: shape={tuple(images.shape)}"
            )

    def compute_output_spec(self, images, *args, **kwargs):
        """Compute the output of a symbolic call; where a size is unknown, Keras would try sizes that may not fit."""
        if None not in images.shape[1:3]:
            return super().compute_output_spec(images, *args, **kwargs)
        scaled = [side and side * self.upscale for side in images.shape[1:3]]
        return keras.KerasTensor((images.shape[0], *scaled, images.shape[3]), "float32")

    def __call__(self, images, *args, **kwargs):
        return super().__call__(self.checked(images), *args, **kwargs)

    def fit(self, x=None, *args, **kwargs):
        """Train the model, see `keras.Model.fit`. The first batch of the inputs is checked before training starts."""
        return super().fit(self._checked_data(x), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Compute loss and metrics, see `keras.Model.evaluate`."""
        # `fit` calls this after every epoch with a private argument. There is no public sign of such a call.
        within_fit = "_use_cached_eval_dataset" in kwargs
        return super().evaluate(x if within_fit else self._checked_data(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """Compute outputs for many images, see `keras.Model.predict`."""
        return super().predict(self._checked_data(x), *args, **kwargs)

    def _checked_data(self, data):
        """Check an array or the first batch before Keras starts: on JAX, an error in a step loses the weights."""
        if data is None or hasattr(data, "shape"):
            batch = data
        elif isinstance(data, keras.utils.PyDataset):
            batch = data[0]
        else:
            batches = iter(data)
            batch = next(batches, None)
            if batches is data:  # a generator, whose first batch is gone
                data = (item for item in itertools.chain([] if batch is None else [batch], batches))
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if hasattr(images, "shape"):
            self._check(images)
            check_range(ops.convert_to_numpy(images))
        return data

    # Training

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """Configure the training, see `keras.Model.compile`.

        Args:
            optimizer: see `keras.Model.compile`.
            loss: also a text for `keras_recon.losses.get`, such as `"charbonnier"`.
            loss_weights: see `keras.Model.compile`.
            metrics: also texts for `keras_recon.metrics.get`, such as `"psnr"`.
            **kwargs: see `keras.Model.compile`.
        """
        known = metrics and keras.tree.map_structure(named, metrics)
        super().compile(optimizer, losses.get(loss), loss_weights, known, **kwargs)

    def compile_from_config(self, config):
        """Compile a loaded model. Keras itself does so only for classes that do not override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer:
            self.optimizer.build(self.trainable_variables)

    def variable_depths(self) -> dict[str, int]:
        """Return the depths in a pretrained backbone of the variables that come from one, by path."""
        return {}

    def visible_part(self, images: np.ndarray) -> np.ndarray:
        """Return the part of the images that inference sees: all of it unless the model is masked."""
        return images

    def lora_parts(self) -> list[keras.layers.Layer]:
        """Return the parts whose kernels `enable_lora` updates."""
        return []

    def enable_lora(self, rank: int):
        """Train only low-rank updates of kernels from here on ("LoRA", Hu et al., 2022).

        In transformers these are the kernels of the attention's queries, keys and values, in other networks those of
        the convolutions. Compile the model afterwards. `merged` adds the updates to the kernels.

        Args:
            rank: rank of each update, from 1.

        Example:
        >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
        >>> model.enable_lora(4)
        >>> sorted({v.name for v in model.trainable_variables})
        ['lora_kernel_a', 'lora_kernel_b']
        """
        finetuning.enable_lora(self, rank)

    def merged(self) -> "ImageModel":
        """Return a copy whose kernels include the updates of LoRA, or the model itself if it has none."""
        return finetuning.merge_lora(self)

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Quantise the dense layers, see `keras.Model.quantize`.

        Keras does not quantise convolutions. `keras_recon.export_model` writes quantised files for other runtimes.

        Args:
            mode: `"int8"` or `"int4"`, the modes that files can hold.
            config: must be Keras's default configuration of the mode.
            filters: see `keras.Model.quantize`.
            **kwargs: see `keras.Model.quantize`.
        """
        # Keras makes a configuration of a mode before this is called.
        changed = config is not None and config.get_config() != type(config)().get_config()
        if mode not in ("int8", "int4") or changed:
            raise ValueError(
                f"`mode` must be 'int8' or 'int4', with Keras's default configuration. "
                f"Received: mode={mode!r}, config={config and config.get_config()}"
            )
        if finetuning.lora_layers(self):
            raise ValueError("`quantize` needs a model without LoRA: model.merged(). Received: a model with LoRA")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Layer .* does not have a `quantize` method")
            super().quantize(mode, config=config, filters=filters, **kwargs)

    def summary(self, line_length=None, positions=None, print_fn=None, expand_nested=False, **kwargs):
        """Print a summary, see `keras.Model.summary`.

        Args:
            line_length: see `keras.Model.summary`.
            positions: see `keras.Model.summary`.
            print_fn: see `keras.Model.summary`.
            expand_nested: whether to list the layers in every part, with their parameters.
            **kwargs: see `keras.Model.summary`.
        """
        super().summary(line_length, positions, print_fn, **kwargs)
        layers = layers_by_path(self) if expand_nested else {}
        for path, layer in layers.items():
            text = f"{'  ' * path.count('/')}{layer.name} ({type(layer).__name__})"
            (print_fn or print)(f"{text:60} {layer.count_params():14,}")

    # Files

    def save(self, filepath, overwrite=True, **kwargs):
        """Save the model atomically, see `keras.Model.save`: a killed process leaves no partial file."""
        if not overwrite:  # Keras asks before it writes
            return super().save(filepath, overwrite=False, **kwargs)
        with replacing(filepath) as temporary:
            super().save(temporary, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Save the weights atomically, see `keras.Model.save_weights`."""
        if not overwrite or max_shard_size:  # shards are several files
            return super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        save_weights(self, filepath)

    def save_to_preset(self, folder: str | Path):
        """Save the model without its optimizer, for `from_preset` and `keras_recon.load_model`."""
        run = Run(folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        self.clone().save(run.model)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """Export `call` for any batch size, see `keras.Model.export`. The model need not have been called before.

        `keras_recon.export_model` also writes signatures for latents and whole photos, and checks the files.

        Raises:
            RuntimeError: the backend cannot write the format, or not for images of any height and width.
        """
        signature = export_signature(self.image_shape, format) if input_signature is None else input_signature
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # tf2onnx makes Keras ask for np.object
            return super().export(filepath, format, verbose, signature, **kwargs)

    def get_build_config(self):
        """Return the version that saved the model, with which `load_model` explains files of newer versions."""
        return {"keras_recon": __version__}

    def build_from_config(self, config):
        """Do nothing, because `__init__` builds the model."""

    def get_config(self):
        """Return the arguments of the constructor and the state that a loaded model needs.

        That is the paths of frozen and of quantised layers, and the rank of LoRA.
        """
        state = {"quantized": quantized_paths(self), "frozen": frozen_paths(self), "lora_rank": self.lora_rank}
        return {
            "name": self.name,
            **{key: value for key, value in state.items() if value},
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config):
        """Build the model and restore frozen and quantised layers and LoRA."""
        config = dict(config)
        quantized, frozen, rank = (config.pop(key, None) for key in ("quantized", "frozen", "lora_rank"))
        model = cls(**config)
        if rank:
            model.enable_lora(rank)
        if frozen:
            freeze(model, frozen)
        for mode, paths in (quantized or {}).items():
            quantize(model, mode, paths)
        return model

    # Keras saves no seed generators, and a resumed run needs those of dropout and masks.

    def _seed_states(self):
        others = {id(v) for v in (*self.weights, *self.metrics_variables)}
        return [v for v in self.variables if id(v) not in others]

    def save_own_variables(self, store):
        """Save the variables of the model itself, and the states of its seed generators."""
        super().save_own_variables(store)
        for i, state in enumerate(self._seed_states()):
            store[f"seed_{i}"] = state

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved."""
        keys = [key for key in store.keys() if not key.startswith("seed_")]  # noqa: SIM118  a store is no dictionary
        super().load_own_variables({key: store[key] for key in keys})
        for i, state in enumerate(self._seed_states()):
            state.assign(store[f"seed_{i}"])


def check_range(images: np.ndarray):
    """Raise a ValueError for images that look like pixels from 0 to 255."""
    largest = float(max(images.max(initial=0), -images.min(initial=0)))  # without a copy of the images
    if largest > MAX_VALUE:
        raise ValueError(f"Images must be in [0, 1]: divide by 255. Received: values up to {largest:g}")


def check_size(model: ImageModel):
    """Raise a ValueError for a model of unknown height or width, which gives tiles and crops no size."""
    if None in model.image_shape:
        example = (128, 128, model.image_shape[2])
        raise ValueError(
            f"`model` must have a height and a width, such as model.for_image_shape({example}). "
            f"Received: image_shape={model.image_shape}"
        )


def can_export(format: str) -> bool:
    """Return whether the backend can write a format of `keras.Model.export`."""
    backend = keras.backend.backend()
    return backend in EXPORT_BACKENDS.get(format, (backend,))


def check_backend(format: str):
    """Raise a RuntimeError for a format that the backend cannot write."""
    if not can_export(format):
        raise RuntimeError(
            f"{format} cannot be exported from the {keras.backend.backend()} backend; save a .keras file, then load "
            "and export it under KERAS_BACKEND=tensorflow"
        )


def export_signature(image_shape: tuple, format: str) -> list[keras.InputSpec]:
    """Return the input signature of an export, after checking that the backend can write it."""
    check_backend(format)
    if keras.backend.backend() == "jax" and None in image_shape:
        raise RuntimeError(
            "A model of images of any height and width cannot be exported from the jax backend: export one of a "
            "size, such as `model.for_image_shape((128, 128, 3))`, or load its .keras file under "
            f"KERAS_BACKEND=tensorflow. Received: image_shape={image_shape}"
        )
    if format == "onnx":
        teach_tf2onnx()
    return [keras.InputSpec(shape=(None, *image_shape), dtype="float32", name="images")]


@lru_cache
def teach_tf2onnx():
    """Register a handler for `Erfc`, which the exact GELU of TensorFlow uses and tf2onnx does not know."""
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
