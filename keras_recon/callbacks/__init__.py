"""Keras callbacks for training image models."""

from keras_recon.callbacks.progress import ProgressBar, SwapEMAWeights, Throughput
from keras_recon.callbacks.safeguards import Diverged, EndOnSignal, HaltOnDivergence, Interrupted, TrainingBackup
from keras_recon.callbacks.tensorboard import RunSummary
from keras_recon.models.finetuning import GradualUnfreezing

__all__ = [
    "Diverged",
    "EndOnSignal",
    "GradualUnfreezing",
    "HaltOnDivergence",
    "Interrupted",
    "ProgressBar",
    "RunSummary",
    "SwapEMAWeights",
    "Throughput",
    "TrainingBackup",
]
