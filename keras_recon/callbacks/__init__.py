from keras_recon.callbacks.end_on_signal import EndOnSignal, Interrupted
from keras_recon.callbacks.halt_on_divergence import Diverged, HaltOnDivergence
from keras_recon.callbacks.progress_bar import ProgressBar
from keras_recon.callbacks.run_summary import RunSummary
from keras_recon.callbacks.swap_ema_weights import SwapEMAWeights
from keras_recon.callbacks.throughput import Throughput
from keras_recon.callbacks.training_backup import TrainingBackup
from keras_recon.models.gradual_unfreezing import GradualUnfreezing

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
