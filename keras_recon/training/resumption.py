"""A run goes on as what it began as, or not at all."""

import json
from pathlib import Path

import keras

from keras_recon.data import Photos
from keras_recon.data.random_crops import DRAWS
from keras_recon.models import Reconstructor
from keras_recon.utils.files import to_json, write_json


def check_unchanged(path: Path, model: Reconstructor, training: Photos, validation: Photos):
    """Write down what a run begins with; refuse to go on with another model or other photos.

    Args:
        path: of the JSON file, written if it is not there.
        model, training, validation: of the run.
    """
    facts = {"version of the random draws": DRAWS}
    facts |= _flat("model", keras.saving.serialize_keras_object(model)["config"])
    for part, photos in (("training", training), ("validation", validation)):
        facts |= {f"number of {part} photos": len(photos), f"hash of the {part} photos' names": photos.fingerprint}
    facts = json.loads(to_json(facts))  # tuples become lists
    if not path.exists():
        write_json(path, facts)
        return
    began = {"version of the random draws": 1} | json.loads(path.read_text())
    for name in began | facts:
        if began.get(name) != facts.get(name):
            hint = " (another version may divide photos otherwise)" if "photos" in name else ""
            hint = " (the version of keras_recon that began it can finish it)" if "draws" in name else hint
            raise ValueError(
                f"A run must go on with what it began with{hint}, {name}={began.get(name)!r}. "
                f"Received: {facts.get(name)!r}"
            )


def _flat(name: str, value) -> dict:
    """A nested configuration as one level, without the names of layers, which count the layers made before."""
    if not isinstance(value, dict):
        return {name: value}
    items = [_flat(f"{name}.{key}", item) for key, item in value.items() if key not in ("name", "registered_name")]
    return {key: item for part in items for key, item in part.items()}
