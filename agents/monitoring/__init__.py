"""What a training run shows while it runs; docs/training.md says how to read it."""

from agents.monitoring.checkpoints import CheckpointCallback
from agents.monitoring.curves import CURVE_METRICS, CurvesCallback
from agents.monitoring.hyperparameters import HyperParametersCallback
from agents.monitoring.timing import TimingCallback
from agents.monitoring.validation import VALIDATION_METRICS, ValidationCallback

__all__ = [
    "CURVE_METRICS",
    "VALIDATION_METRICS",
    "CheckpointCallback",
    "CurvesCallback",
    "HyperParametersCallback",
    "TimingCallback",
    "ValidationCallback",
]
