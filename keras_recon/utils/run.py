"""The folder that a training run leaves."""

import csv
import json
from pathlib import Path

from filelock import FileLock

from keras_recon.utils.files import replacing, write_json

MODEL_FILE = "model.keras"
DATA = ("data", "target", "val_data", "val_target", "resize")  # the settings that choose the photos


def data_of(config: dict) -> str:
    """Describe the photos of a run with these settings."""
    return ", ".join(str(config[name]) for name in DATA if config.get(name))  # older runs lack newer settings


class Run:
    """The folder of a training run: the paths of its files, its state and its results.

    Args:
        folder: path of the folder.
        log_dir: folder of the TensorBoard events; `logs` inside the folder if None.

    Attributes:
        name: name of the folder.
        model, picture, bad_images, log, backbone, export: paths of the results.
        training, began, best_weights: paths that an unfinished run resumes from.

    Example:
    >>> run = Run("saved_models/vit")
    >>> run.is_finished, run.model.name
    (False, 'model.keras')
    """

    def __init__(self, folder: str | Path, log_dir: str | Path | None = None):
        self.folder = Path(folder)
        self.log_dir = Path(log_dir or self.folder / "logs")
        self.name = self.folder.name
        self.model = self.folder / MODEL_FILE
        self.picture = self.folder / "reconstructions.png"
        self.bad_images = self.folder / "bad_images.json"
        self.log = self.folder / "log.csv"
        self.backbone = self.folder / "backbone"
        self.export = self.folder / "export"
        self.training = self.folder / "training"
        self.began = self.training / "began.json"
        self.best_weights = self.training / "best.weights.h5"
        self._config = self.folder / "config.json"
        self._metrics = self.folder / "metrics.json"

    @property
    def is_begun(self) -> bool:
        """Whether the settings are written."""
        return self._config.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the results are written, which is the last step of a run."""
        return self._metrics.exists()

    @property
    def config(self) -> dict:
        """The settings by name.

        Raises:
            ValueError: if the file does not hold a JSON object.
        """
        try:
            config = json.loads(self._config.read_text())
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise ValueError(f"A run's settings must be a JSON object. Received: {self._config}")
        return config

    @property
    def results(self) -> dict[str, dict]:
        """The rows of the table of results by name."""
        return json.loads(self._metrics.read_text())["results"]

    @property
    def protocol(self) -> dict:
        """How the results were measured."""
        return json.loads(self._metrics.read_text())["protocol"]

    def epochs(self) -> list[dict[str, float]]:
        """Return the logged values of each epoch."""
        with open(self.log, newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def cut_log(self, epochs: int):
        """Keep the logs of the first `epochs` epochs, before a run is resumed; an empty file for 0.

        The file must exist for `CSVLogger` to check again whether it has to write the header.
        """
        if not self.log.exists():
            return
        lines = self.log.read_text().splitlines(keepends=True)
        with replacing(self.log) as temporary:
            temporary.write_text("".join(lines[: epochs + 1 if epochs else 0]))

    def lock(self) -> FileLock:
        """Return a lock that one process can hold; the system frees it when the process ends."""
        self.training.mkdir(parents=True, exist_ok=True)
        return FileLock(self.training / ".lock", timeout=0)

    def begin(self, config: dict):
        """Write the settings."""
        write_json(self._config, config)

    def finish(self, results: dict[str, dict], protocol: dict):
        """Write the results, which marks the run as finished."""
        write_json(self._metrics, {"results": results, "protocol": protocol})
