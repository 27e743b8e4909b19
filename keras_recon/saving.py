"""Loading of model files that need not be trusted."""

import io
import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
from packaging.version import Version

from keras_recon.expected_weights import BACKBONES, check_expected
from keras_recon.models.image_model import ImageModel
from keras_recon.presets import model_file
from keras_recon.version import __version__

MEMBERS = ("config.json", "metadata.json", "model.weights.h5")  # sorted
# Keras's own, of models that are quantised too.
DTYPE_POLICIES = ("DTypePolicy", "QuantizedDTypePolicy", "Int4DTypePolicy", "DTypePolicyMap")
MAX_RATIO = 8  # of the bytes of its files to those of an archive: small models are half headers
MAX_JSON_BYTES = 2**20  # a model's configuration has some thousands
MAX_DEPTH, MAX_OBJECTS = 32, 10_000  # of the groups of its weights: those of a large ViT have some thousands
MAX_NUMBER = 2**16  # of a configuration: pixels, widths, depths


def load_model(path: str | Path, expected: type[keras.Model] = ImageModel, trusted: bool = False) -> keras.Model:
    """Load a preset by its name, a `.keras` file, or the file in a run's folder.

    `keras_recon.presets.PRESETS` lists the names. A file or folder with the name of a preset takes precedence.

    Files of strangers can be loaded: the file is checked before Keras reads it, and runs no code.

    - The archive holds only the files that Keras writes, with valid checksums, compressed at most eightfold.
    - The config is an `expected` model with objects of known classes: those of this package, the keras-hub backbones
      that it supports, dtype policies, and layers that this process has registered. Numbers are at most 65,536.
    - The file holds every large weight that the config asks for, see `keras_recon.expected_weights`, and only finite
      numbers.

    `keras.saving.load_model` gives the same model for a valid file. With `safe_mode` it runs no code either, but it
    creates any object of Keras and keras-hub, of any size. HDF5 is parsed by a C library: limit the memory and the
    rights of a process that reads files of strangers.

    Args:
        path: a name, a file or a folder.
        expected: the class of the model, such as `keras_recon.compression.ImageCodec`.
        trusted: whether the file comes from a trusted source. Objects of all classes that Keras can find are then
            allowed, of any size; code such as lambda layers is not.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: if the file is invalid, with one sentence that says why.

    Example:
    >>> model = keras_recon.models.ViTReconstructor((32, 32, 3), num_layers=1, decoder_num_layers=1)
    >>> model.save("saved_models/vit/model.keras")
    >>> keras_recon.load_model("saved_models/vit").image_shape
    (32, 32, 3)
    >>> keras_recon.load_model("denoise").image_shape  # of its tiles
    (128, 128, 3)
    """
    path = model_file(path)
    newer = ""
    try:
        config, metadata, shapes, deflated = _read(path)
        newer = _newer(config, metadata)
        if not trusted:
            _check_model(config, expected)
            check_expected(config, shapes)
        with _stored(path, deflated) as file:
            try:
                model = keras.saving.load_model(file, compile=False, safe_mode=True)
            except ValueError:
                _compare(shapes, config)
                raise
        _check_finite(model)
        return model
    except Exception as error:  # what zipfile, HDF5 and the constructors raise on nonsense is of any type
        raise ValueError(f"Cannot load the model {path}: {newer}{_sentence(error)}") from error


def _read(path):
    """Return config, metadata and shapes of the weights of an archive, and its members' bytes if some are deflated."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = sorted(member.filename for member in members)
            if names != [*MEMBERS] or any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
                raise ValueError(f"it must hold only the files {', '.join(MEMBERS)}, each once (it has {names[:9]})")
            sizes = {member.filename: member.file_size for member in members}
            kinds = {member.compress_type for member in members}
            if not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or (
                sum(sizes.values()) > MAX_RATIO * path.stat().st_size
            ):
                raise ValueError("its files must be stored, or deflated to no less than an eighth of their bytes")
            if max(sizes[name] for name in MEMBERS[:2]) > MAX_JSON_BYTES:
                raise ValueError(f"its configuration has more than {MAX_JSON_BYTES:,} bytes")
            # A deflated member may unpack to more than it says: no more than that is read, and its checksum is wrong.
            contents = {name: archive.open(name).read(sizes[name]) for name in MEMBERS}
            shapes = _shapes(io.BytesIO(contents[MEMBERS[2]]))
            deflated = contents if zipfile.ZIP_DEFLATED in kinds else {}
            return *(json.loads(contents[name]) for name in MEMBERS[:2]), shapes, deflated
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is no archive, or damaged ({error})") from error


@contextmanager
def _stored(path, deflated) -> Iterator[Path]:
    """Give Keras, which unpacks without a limit, the archive itself or a stored copy of a deflated one."""
    if not deflated:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model.keras")
        with zipfile.ZipFile(copy, "w") as archive:
            for name, content in deflated.items():
                archive.writestr(name, content)
        yield copy


def _shapes(file) -> dict[str, tuple]:
    """Return the shape of each weight in an HDF5 file, which must hold plain numbers and no links."""
    shapes, count = {}, 0
    with h5py.File(file) as weights:
        groups = [("", weights, 0)]
        while groups:  # not by `visititems`, which takes minutes for groups in groups
            name, group, depth = groups.pop()
            count += len(group)
            if depth > MAX_DEPTH or count > MAX_OBJECTS:
                raise ValueError(f"its weights must be at most {MAX_OBJECTS:,}, nested at most {MAX_DEPTH} deep")
            for key in group:
                inner = f"{name}/{key}".removeprefix("/")
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise ValueError(f"its weight {inner} is a link to elsewhere")
                item = group[key]
                if isinstance(item, h5py.Dataset):
                    shapes[inner] = _shape(inner, item)
                elif isinstance(item, h5py.Group):
                    groups.append((inner, item, depth + 1))
    return shapes


def _shape(name, weight):
    if weight.external or weight.is_virtual:
        raise ValueError(f"its weight {name} is in another file")
    if weight.dtype.hasobject or weight.nbytes > weight.id.get_storage_size():
        raise ValueError(f"its weight {name}, {weight.dtype} {weight.shape}, is not stored as plain numbers")
    return weight.shape


def _check_finite(model):
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype) and not bool(keras.ops.all(keras.ops.isfinite(weight))):
            raise ValueError(f"its weight {weight.path} has values that are no finite numbers")


def _compare(shapes, config):
    """Raise a ValueError that names the weight that is missing or differs in shape; Keras names others too."""
    model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(f"{folder}/model.weights.h5")
        expected = _shapes(f"{folder}/model.weights.h5")
    for name, shape in expected.items():
        if name not in shapes:
            raise ValueError(f"its weight {name} {shape} is missing")
        if shapes[name] != shape:
            raise ValueError(f"its weight {name} has the shape {shapes[name]}, and the model takes {shape}")


def _newer(config, metadata) -> str:
    """Return the newer versions that saved the model, as the start of a sentence."""
    saved = {"keras_recon": config.get("build_config", {}).get("keras_recon", "0"), "Keras": metadata["keras_version"]}
    here = {"keras_recon": __version__, "Keras": keras.__version__}
    newer = [name for name in here if Version(saved[name]) > Version(here[name])]
    return "".join(f"saved by {name} {saved[name]}, this is {here[name]}; " for name in newer)


def _check_model(config, expected):
    """Raise a ValueError if the model or an object in its config is of a class that is not allowed."""
    registered = _registered(config)
    package, _, name = str(config.get("registered_name")).partition(">")
    if registered is None and name and package not in ("keras_recon", "keras_hub"):
        raise ValueError(
            f"this process has no class {config.get('registered_name')}: import the module that registers it first, or "
            "pass trusted=True for a file from a trusted source"
        )
    if registered is None or not issubclass(registered, keras.Model):
        raise ValueError(f"a {config.get('registered_name')} is no model of keras_recon")
    if not issubclass(registered, expected):
        raise ValueError(f"it is of the class {registered.__name__}, and {expected.__name__} is expected")
    _check_values(config["config"])
    _check_values(config.get("build_config"))


def _check_values(value, key=None):
    """Raise a ValueError for objects of classes that are not allowed, and for numbers that are too large."""
    if isinstance(value, dict):
        if "class_name" in value and not _is_allowed(value):
            raise ValueError(f"it has an object of the foreign class {value.get('module')}.{value['class_name']}")
        for name, inner in value.items():
            _check_values(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, key)
    elif isinstance(value, int) and abs(value) > MAX_NUMBER and key not in ("seed", "shared_object_id"):
        raise ValueError(f"its {key} must not be above {MAX_NUMBER:,} (it is {value})")


def _is_allowed(config):
    if config.get("module") in ("keras", "keras.dtype_policies") and config["class_name"] in DTYPE_POLICIES:
        return config.get("registered_name") is None
    registered = _registered(config)
    if registered is None:
        return False
    if config["registered_name"].startswith("keras_hub>"):
        return registered.__name__ in BACKBONES
    return issubclass(registered, keras.layers.Layer)


def _registered(config) -> type | None:
    """Return the registered class that Keras will create for a config, or None if it would create something else.

    For other configs Keras imports the module that the file names, or gives names such as "__lambda__" a meaning.
    """
    name = config.get("registered_name")
    if isinstance(name, str) and name.startswith("keras_hub>"):
        import keras_hub  # noqa: F401  registers its classes
    registered = keras.saving.get_registered_object(name)
    fits = isinstance(registered, type) and registered.__name__ == config["class_name"]
    return registered if fits else None


def _sentence(error) -> str:
    """Return the message of an error in one line of at most 400 characters."""
    text = " ".join(re.sub("\x1b\\[[0-9;]*m", "", str(error)).split())
    text = text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
    return text if len(text) < 400 else f"{text[:400]} ..."
