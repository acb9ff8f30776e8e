"""Drift of one forecaster: its errors, its predictions, its inputs, and when to train it again."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from forecasting.drift.errors import ErrorDrift
from forecasting.drift.population import PopulationDrift
from forecasting.drift.trigger import RetrainTrigger, TriggerSettings
from telemetry.provenance import write_json

_VERSION: Final = 1


@dataclass(frozen=True)
class DriftReport:
    """What a step of :class:`DriftMonitor` found.

    Attributes:
        error_alarm: The forecast errors have grown.
        prediction_alarm: The predictions are distributed otherwise than in the reference.
        input_alarms: Inputs that are.
        loss_growth: Absolute errors of the shadow window over the usual ones; NaN until it is whole.
        retrain: Whether to train again now: an alarm, and forecasts that are worse.
    """

    error_alarm: bool
    prediction_alarm: bool
    input_alarms: tuple[str, ...]
    loss_growth: float
    retrain: bool


class DriftMonitor:
    """Watches one forecaster; constant work per step. Make it with :meth:`of_reference`.

    After a retraining, make a new one from the errors of the new model in its own reference.

    Args:
        errors: Detector of its errors, with a reference.
        predictions: Detector of its predictions, with a reference.
        inputs: Detectors of its inputs by name, each with a reference.
        trigger: When to train again.
    """

    def __init__(
        self,
        errors: ErrorDrift,
        predictions: PopulationDrift,
        inputs: Mapping[str, PopulationDrift],
        trigger: RetrainTrigger,
    ) -> None:
        self.errors = errors
        self.predictions = predictions
        self.inputs = dict(inputs)
        self.trigger = trigger

    @classmethod
    def of_reference(
        cls,
        *,
        errors: npt.ArrayLike,
        predictions: npt.ArrayLike,
        inputs: Mapping[str, npt.ArrayLike],
        start_s: int,
        settings: TriggerSettings,
        seed: int = 0,
    ) -> Self:
        """Return a monitor that knows a good time.

        Args:
            errors: float64[N], actual minus forecast of one lead, one per step; NaN is missing.
            predictions: float64[N], the forecasts themselves.
            inputs: float64[N] by name.
            start_s: UTC second of the first step.
            settings: When to train again; its step is that of everything.
            seed: Chooses the resampled days.

        Raises:
            ValueError: A reference that is too short or holds infinite values; an input's name is given.
        """
        step_s = settings.step_s
        detectors = {}
        for name, values in {
            "prediction": predictions,
            **{f"input {key}": each for key, each in inputs.items()},
        }.items():
            try:
                detectors[name] = PopulationDrift(step_s=step_s, seed=seed).fit(values)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        detector = ErrorDrift(step_s=step_s, seed=seed).fit(errors, start_s=start_s)
        newest = np.abs(np.asarray(errors, dtype=np.float64))[-settings.rows(settings.shadow_hours) :]
        trigger = RetrainTrigger(settings)
        trigger.fill(newest, detector.usual_errors(-len(newest)))
        inputs_ = {key: detectors[f"input {key}"] for key in inputs}
        return cls(detector, detectors["prediction"], inputs_, trigger)

    def update(self, *, error: float, prediction: float, inputs: Mapping[str, float]) -> DriftReport:
        """Take a step; NaN is missing.

        Args:
            error: Actual minus forecast, of the forecast that came due.
            prediction: The newest forecast.
            inputs: The newest inputs, all of them.

        Raises:
            ValueError: An input is absent or unknown, or a value is infinite. Nothing is taken then.
        """
        if set(inputs) != set(self.inputs):
            raise ValueError(f"inputs {sorted(inputs)}; expected {sorted(self.inputs)}")
        for name, value in {"error": error, "prediction": prediction, **inputs}.items():
            if math.isinf(value):
                raise ValueError(f"{name} is {value}; expected a finite number or NaN")
        usual = float(self.errors.usual_errors()[0])
        error_alarm = self.errors.update(error)
        prediction_alarm = self.predictions.update(prediction)
        input_alarms = tuple(name for name, detector in self.inputs.items() if detector.update(inputs[name]))
        alarm = error_alarm or prediction_alarm or bool(input_alarms)
        retrain = self.trigger.update(alarm=alarm, loss=abs(error), usual_loss=usual)
        return DriftReport(error_alarm, prediction_alarm, input_alarms, self.trigger.growth, retrain)

    def save(self, path: Path) -> None:
        """Write references and state as JSON, by a temporary file and a rename."""
        write_json(
            path,
            {
                "version": _VERSION,
                "errors": self.errors.as_json(),
                "predictions": self.predictions.as_json(),
                "inputs": {name: detector.as_json() for name, detector in self.inputs.items()},
                "trigger": self.trigger.as_json(),
            },
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a monitor written by :meth:`save`.

        Raises:
            ValueError: The file is no monitor of this version, with its path.
        """
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']} of the monitor; expected {_VERSION}")
            return cls(
                ErrorDrift.from_json(content["errors"]),
                PopulationDrift.from_json(content["predictions"]),
                {name: PopulationDrift.from_json(each) for name, each in content["inputs"].items()},
                RetrainTrigger.from_json(content["trigger"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a drift monitor: {error}") from error
