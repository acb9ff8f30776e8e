"""Chronos (Amazon's pretrained forecasters, Apache-2.0) as a stream: an anchor from above where it is installed.

Neither package nor weights are part of this project. The package is imported when a pipeline is loaded; the model name
is a folder or a name known to the model hub.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.history import HeldHistory, require_leads

DEFAULT_MODEL = "amazon/chronos-2"
CONTEXT_STEPS = 2048


class Pipeline(Protocol):
    """What is used of a Chronos pipeline; the first item of the result holds [.., prediction_length, levels]."""

    def predict_quantiles(
        self, inputs: list[Any], prediction_length: int, quantile_levels: list[float]
    ) -> tuple[Any, Any]:
        """Return quantiles and means of each series."""


def load_pipeline(model: str = DEFAULT_MODEL, *, device: str = "cpu") -> Pipeline:
    """Load a pretrained pipeline.

    Raises:
        ImportError: the package is not installed.
        ValueError: the weights cannot be loaded.
    """
    try:
        package = importlib.import_module("chronos")
    except ImportError as error:
        raise ImportError("Chronos is not installed; run: pip install chronos-forecasting") from error
    try:
        pipeline: Pipeline = package.BaseChronosPipeline.from_pretrained(model, device_map=device)
    except OSError as error:
        raise ValueError(f"the weights of {model!r} cannot be loaded: {error}") from error
    return pipeline


class ChronosForecaster:
    """A stream of one series, forecast by a pretrained pipeline from its last values.

    Args:
        pipeline: from :func:`load_pipeline`; shared between series.
        context_steps: how many of the last values it is shown.
    """

    def __init__(self, pipeline: Pipeline, *, context_steps: int = CONTEXT_STEPS) -> None:
        self._pipeline = pipeline
        self._past = HeldHistory(context_steps)

    @property
    def ready(self) -> bool:
        """Whether any value has been seen."""
        return self._past.seen > 0

    def fit(self, history: npt.ArrayLike) -> Self:
        """Start again from ``history``; the pipeline stays as it is."""
        self._past.restart(history)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; zeros before any value."""
        steps = require_leads(leads)
        if not self.ready:
            return np.zeros((len(steps), len(levels)))
        import torch

        context = torch.tensor(self._past.values(), dtype=torch.float32)
        longest = int(steps.max())
        quantiles, _ = self._pipeline.predict_quantiles([context], longest, list(levels))
        path = np.asarray(quantiles[0], dtype=np.float64).reshape(longest, len(levels))
        return np.maximum.accumulate(np.maximum(path[steps - 1], 0.0), axis=1)
